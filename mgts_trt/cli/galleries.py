"""`mgts-trt gallery`: look after a gallery."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgts_trt.cli.console import out, progress, table, warn
from mgts_trt.cli.help import Command, Group
from mgts_trt.cli.options import GalleryKeyOption
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.recorded import recorded
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    from rich.table import Table

GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder or URL.")]
_CLOCK = 1e8
"""Unix seconds in 1973."""

_SHOWN = 20
"""Files of a kind that are named."""

gallery_app = typer.Typer(cls=Group, no_args_is_help=True, help="Look after a gallery: info, forget, verify, …")


@gallery_app.command(cls=Command)
def info(gallery: GalleryArgument, json_file: JsonOption = None) -> None:
    """Show what a gallery holds, of which cameras and for which model, and which live streams are being indexed."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.browse import overview
    from mgts_trt.gallery.indexing.cameras import CameraState, told_in_words
    from mgts_trt.gallery.sightings import sightings_by_camera
    from mgts_trt.gallery.watched import watched

    with Gallery.open(gallery) as opened:
        summary, space = asdict(opened.summary()), opened.space.model_dump(mode="json", exclude_none=True)
        seen, counts = overview(opened).cameras(), sightings_by_camera(opened)
    cameras = [{**asdict(each), "sightings": None if counts is None else counts[each.camera]} for each in seen]
    streams = watched(gallery)
    if json_file:
        whole = {"gallery": without_login(gallery), **summary, "space": space}
        whole |= {"cameras": cameras, "streams": [asdict(each) for each in streams]}
        write_json(json_file, json.dumps(whole, indent=2))
    shown = table("gallery", without_login(gallery))
    for name, value in {**summary, **space}.items():
        shown.add_row(name, _told(name, value))
    out.print(shown)
    if any(each.camera is not None for each in seen):
        out.print(_camera_table(cameras))
    for each in streams:
        process = f"process {each.process}" if each.running else f"process {each.process} was killed"
        state = CameraState.from_dict(each.state)
        out.print(f"stream {state.name}: {told_in_words(state)} ({process})")


def _camera_table(cameras: "Sequence[dict[str, Any]]") -> "Table":
    shown = table("camera", ">frames", ">people", ">sightings", "first", "last")
    for each in cameras:
        counts = (each[name] for name in ("frames", "people", "sightings"))
        numbers = [f"{count:,}" if count is not None else "–" for count in counts]
        shown.add_row(each["camera"] or "(none)", *numbers, *(_moment(each[name]) for name in ("first", "last")))
    return shown


def _moment(seconds: float | None) -> str:
    """No video is as long as a clock's time."""
    from mgts_trt.gallery.indexing.cameras import clock_time

    if seconds is None:
        return "–"
    return clock_time(seconds) if seconds > _CLOCK else f"{seconds:,.1f} s"


def _told(name: str, value: object) -> str:
    from mgts_trt.gallery.vector_index import INDEX_FROM

    if name == "encrypted":
        return "the pictures, and nothing else" if value else "nothing"
    if name == "indexed" and not value:
        return f"none: fewer than {INDEX_FROM:,} people are compared one by one"
    if name == "sightings" and value is None:
        return "none in this format: `mgts-trt gallery upgrade` makes them"
    return f"{value:,}" if isinstance(value, int) else "unknown" if value is None else str(value)


@gallery_app.command(cls=Command)
def verify(gallery: GalleryArgument, json_file: JsonOption = None) -> None:
    """Look for damaged files, cut-off erasures, and what a killed writer left; exit with 1 where there are any."""
    from mgts_trt.gallery.verifying import verify as look

    found = look(gallery)
    if json_file:
        what = {"gallery": without_login(gallery), "clean": found.clean, **asdict(found)}
        write_json(json_file, json.dumps(what, indent=2))
    shown = table("gallery", without_login(gallery))
    for name, value in asdict(found).items():
        if isinstance(value, list):
            shown.add_row(name, "\n".join(value[:_SHOWN]) + "\n…" * (len(value) > _SHOWN) or "none")
        elif value or name != "unread":
            shown.add_row(name.replace("_", " "), str(value))
    out.print(shown)
    if not found.clean:
        raise typer.Exit(1)


@gallery_app.command(cls=Command)
def optimise(gallery: GalleryArgument) -> None:
    """Gather small files and bring the index up to date; index does so at its end, too."""
    from mgts_trt.gallery import Gallery

    with Gallery.open(gallery) as opened, recorded(opened.url, "optimise", changes=True):
        opened.optimise()
        summary = opened.summary()
    out.print(f"{summary.indexed:,} of {summary.people:,} people are in the index; smaller galleries need none")


@gallery_app.command(cls=Command, epilog="Example: mgts-trt gallery rekey my-gallery new-key --gallery-key old-key")
def rekey(
    gallery: GalleryArgument,
    new_key: Annotated[Path, typer.Argument(metavar="FILE", help="Of the new key.")],
    gallery_key: GalleryKeyOption = None,
) -> None:
    """Have another key open a gallery's encrypted pictures, and the old one no longer; no picture is written anew."""
    from mgts_trt.access.master_key import read_master_key
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.picture_key import rekey as run_rekey

    key = read_master_key(new_key)
    with Gallery.open(gallery) as opened, recorded(opened.url, "rekey", changes=True):
        run_rekey(opened, key)
    out.print(f"From now on the key in {new_key} opens the pictures in {without_login(gallery)}")
    warn("copies of the gallery from before still open with the old key.")


@gallery_app.command(cls=Command)
def upgrade(gallery: GalleryArgument) -> None:
    """Give a gallery of an older version its sightings, from what it holds; nothing is lost or searched again."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.tables import FORMAT
    from mgts_trt.gallery.upgrading import upgrade as run_upgrade

    with Gallery.open(gallery) as opened, recorded(opened.url, "upgrade", changes=True), progress() as bar:
        task = bar.add_task("upgrading", total=None)
        made = run_upgrade(gallery, on_progress=lambda done, total: bar.update(task, completed=done, total=total))
    was = f"was of format {made.before} and is of" if made.before < FORMAT else "is of"
    now = max(made.before, FORMAT)
    sources = f"{made.sources:,} video{'s' * (made.sources != 1)} or streams"
    out.print(f"{without_login(gallery)} {was} format {now}; {sources} tracked, {made.sightings:,} sightings in all")
