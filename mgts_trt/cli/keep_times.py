"""`mgts-trt gallery policy`, `expire` and `sync`: how long people are kept."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import out, warn
from mgts_trt.cli.galleries import GalleryArgument
from mgts_trt.cli.recorded import recorded
from mgts_trt.counts import people_of
from mgts_trt.errors import MgtsError
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    from mgts_trt.gallery import Gallery

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHOWN = 20


def read_time(text: str) -> float:
    """Seconds of `90s`, `30m`, `72h`, `30d` or `4w`.

    Raises:
        MgtsError: It is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None or not float(match[1]):
        raise MgtsError(
            f"{text!r} is no time to keep people for. Expected a number and a unit: 90s, 30m, 72h, 30d, 4w."
        )
    return float(match[1]) * _UNITS[match[2]]


def told_time(seconds: float) -> str:
    """The same in words: `30 d`."""
    unit = next((name for name, size in reversed(_UNITS.items()) if seconds % size == 0), "s")
    return f"{seconds / _UNITS[unit]:g} {unit}"


def apply_policy(gallery: "Gallery") -> None:
    """Erase people whose time is over, if a policy is set; what goes wrong is told, and costs nothing else."""
    from mgts_trt.gallery.retention import expire as run_expire
    from mgts_trt.gallery.retention import read_policy

    try:
        if read_policy(gallery):
            with recorded(gallery.url, "expire", changes=True) as done:
                done.rows = run_expire(gallery).people
            if done.rows:
                warn(f"erased {people_of(done.rows)} whose time was over")
    except MgtsError as error:
        warn(f"people whose time is over were not erased: {error}")


def policy(
    gallery: GalleryArgument,
    keep: Annotated[str | None, typer.Option(metavar="TIME", help="Keep people so long: 72h, 30d; or 'ever'.")] = None,
    keep_camera: Annotated[
        list[str] | None, typer.Option(metavar="CAMERA=TIME", help="Those of a camera so long instead; repeatable.")
    ] = None,
) -> None:
    """Set how long people are kept after a camera's clock saw them, or show it; `index` and `serve` apply it, too."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.retention import Policy, read_policy, set_policy

    with Gallery.open(gallery) as opened:
        if keep is not None or keep_camera:
            cameras = dict(_camera(each) for each in keep_camera or [])
            new = Policy(None if keep in (None, "ever") else read_time(str(keep)), cameras)
            with recorded(opened.url, "policy", changes=True):
                set_policy(opened, new)
        held = read_policy(opened)
    out.print(f"people are kept {'for ever' if held.keep is None else told_time(held.keep)}")
    for name, seconds in sorted(held.cameras.items()):
        out.print(f"of camera {name}: {told_time(seconds)}")


def expire(gallery: GalleryArgument) -> None:
    """Erase people who were kept as long as the policy says, for good."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.retention import expire as run_expire
    from mgts_trt.gallery.retention import read_policy

    with Gallery.open(gallery) as opened:
        if not read_policy(opened):
            raise MgtsError(f"No policy is set. Set one: mgts-trt gallery policy {without_login(gallery)} --keep 30d")
        with recorded(opened.url, "expire", changes=True) as done:
            done.rows = run_expire(opened).people
    out.print(f"Erased {people_of(done.rows)} whose time was over")


def sync(
    gallery: GalleryArgument,
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER", help="Which were indexed.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and do nothing.")] = False,
    all_gone: Annotated[bool, typer.Option("--all-gone", help="Do it even if every file has gone.")] = False,
) -> None:
    """Erase what came from files that are in these folders no more, for good."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.retention import erase_sources, vanished

    with Gallery.open(gallery) as opened:
        gone, known = vanished(opened, folders)
        for name in gone[:_SHOWN]:
            warn(f"gone: {name}")
        if len(gone) > _SHOWN:
            warn(f"… and {len(gone) - _SHOWN:,} more")
        if gone and len(gone) == known and not (all_gone or dry_run):
            raise MgtsError(
                f"All {known:,} sources below these folders have gone. Is their disk mounted? If so, say --all-gone."
            )
        if dry_run:
            out.print(f"{len(gone):,} of {known:,} sources have gone; nothing was erased")
            return
        with recorded(opened.url, "sync", changes=True, subjects={"source": gone[:64]}) as done:
            done.rows = erase_sources(opened, gone, "sync").people
    out.print(f"Erased {people_of(done.rows)} of {len(gone):,} sources that have gone; {known - len(gone):,} are there")


def _camera(text: str) -> tuple[str, float]:
    name, equals, seconds = text.rpartition("=")
    if not (name and equals):
        raise MgtsError(f"--keep-camera {text!r} names no camera and time. Expected such as entrance=72h.")
    return name, read_time(seconds)
