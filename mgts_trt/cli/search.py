"""The commands `index`, `search` and `gallery`."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, table, warn
from mgts_trt.cli.options import BackendOption, BundleArgument, PrecisionOption, ThreadsOption
from mgts_trt.errors import GalleryError, MgtsError
from mgts_trt.machine.files import write_text
from mgts_trt.runtime.modes import Mode

if TYPE_CHECKING:
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.indexing.index import IndexReport
    from mgts_trt.gallery.probe import Probe
    from mgts_trt.gallery.ranking import Match, Ranking
    from mgts_trt.runtime.pipeline import PersonSearch

_SHOWN_FAILURES = 20

ModeOption = Annotated[
    Mode | None,
    typer.Option(help="none, net or box: the rows of the paper's Table 6; by default the gallery's, or net."),
]
GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder or URL.")]

gallery_app = typer.Typer(no_args_is_help=True, help="Look after a gallery: info, forget, optimise.")


def index(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Photos, videos, folders of them, patterns like 'shop/**/*.jpg', URLs of streams or of "
            "photos in a bucket.",
        ),
    ],
    gallery: Annotated[
        str, typer.Option("--gallery", "-g", help="Folder or URL of the gallery; made if it is not there.")
    ],
    mode: ModeOption = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Of videos and streams, every N-th frame.")] = 1,
    camera: Annotated[str | None, typer.Option(help="Name of the camera.")] = None,
    camera_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help=r"The first group of this, found in the path, names the camera: '_c(\d)s'."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of each live stream, N frames.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Watch each live stream for S seconds.")
    ] = None,
    thumbnails: Annotated[bool, typer.Option(help="Keep a small picture of each person.")] = True,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Share the work among N processes, through Ray.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Workers on a Ray cluster: auto for the one this machine is part of, or HOST:PORT."
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0.0, metavar="G", help="GPUs of each worker; 0.5 puts two on one. Without, CPUs alone.")
    ] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if something could not be read.")] = False,
) -> None:
    """Put the people of photos, videos and live streams into a gallery.

    Run it again to go on after an interruption, and after pictures were added or changed: what is there is skipped.
    """
    from rich.progress import TextColumn

    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.indexing.index import index as run_index
    from mgts_trt.gallery.indexing.reading import LiveOptions
    from mgts_trt.gallery.indexing.sources import find_sources
    from mgts_trt.gallery.store import stored_mode
    from mgts_trt.runtime.pipeline import PersonSearch

    if workers is None and (ray_address or gpus_per_worker):
        raise MgtsError("--ray-address and --gpus-per-worker are for several workers. Say how many with --workers N.")
    found = find_sources(sources, camera=camera, camera_pattern=camera_pattern)
    opened = Bundle.open(bundle)
    mode = mode or stored_mode(gallery) or "net"
    with (
        nullcontext()
        if workers
        else PersonSearch(opened, mode=mode, backend=backend, precision=precision, threads=threads) as pipeline,
        Gallery.create(gallery, Space.of(opened, mode)) as store,
        _stopping() as (stop, signals),
    ):
        with progress(TextColumn("{task.fields[rate]}")) as bar:
            task = bar.add_task("indexing", total=None, rate="")

            def on_progress(report: "IndexReport") -> None:
                done = report.frames + report.skipped + len(report.failures)
                doing = "stopping" if stop.is_set() else "indexing"
                rate = f"{report.rate:.1f} images/s"
                bar.update(task, total=report.expected, completed=done, rate=rate, description=doing)

            if pipeline:
                report = run_index(
                    pipeline,
                    found,
                    store,
                    every=every,
                    thumbnails=thumbnails,
                    live=LiveOptions(limit, duration),
                    stop=stop,
                    on_progress=on_progress,
                    on_note=warn,
                )
            elif workers:
                from mgts_trt.gallery.indexing.ray_index import index_with_ray

                report = index_with_ray(
                    bundle,
                    found,
                    store,
                    workers=workers,
                    address=ray_address,
                    gpus_per_worker=gpus_per_worker,
                    threads=threads,
                    backend=backend,
                    precision=precision,
                    every=every,
                    thumbnails=thumbnails,
                    stop=stop,
                    on_progress=on_progress,
                )
        if len(report.failures) == 1 == len(found) and not report.frames + report.skipped:
            raise report.failures[0].error
        _print_report(report, gallery)
        notice_untrained(opened.manifest)
    if signals:
        raise typer.Exit(128 + signals[0])
    if report.failures and strict:
        raise typer.Exit(1)


def search(
    query: Annotated[
        str,
        typer.Option(
            "--query",
            "-q",
            help="The probe: PHOTO@x,y,w,h is that box, PHOTO@x,y the person nearest to that point, PHOTO the largest.",
        ),
    ],
    gallery: Annotated[
        list[str],
        typer.Option("--gallery", "-g", help="A gallery made by index; or photos and folders, with no index made."),
    ],
    bundle: BundleArgument = None,
    top: Annotated[int, typer.Option(min=1, help="How many matches to show.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Search among these alone: camera=3,time>=10,source~shop. Of a gallery.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with everybody in the gallery, without index.")] = (
        False
    ),
    mode: ModeOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw probe and matches to this .jpg or .png (Fig. 7).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the matches to this file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a scene could not be read.")] = False,
) -> None:
    """Find a person in a gallery, or in photos: everybody there, ranked by likeness to the probe."""
    from mgts_trt.gallery import parse_filter
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.ranking import rank_gallery
    from mgts_trt.gallery.sheet import ranking_sheet
    from mgts_trt.pictures.image import write_image
    from mgts_trt.runtime.pipeline import PersonSearch

    photo, place = parse_query(query)
    chosen = parse_filter(where) if where is not None else None
    opened = Bundle.open(find_bundle(bundle))
    stored = _stored_gallery(gallery, opened, mode)
    if stored is None and chosen is not None:
        raise MgtsError(
            f"--where {where} needs a gallery that was indexed, and {', '.join(gallery)} is none. Make one with "
            "`mgts-trt index`, or leave --where out."
        )
    chosen_mode = stored.space.mode if stored else mode or "net"
    scenes = {} if stored else _scenes(gallery, photo)
    with PersonSearch(opened, mode=chosen_mode, backend=backend, precision=precision, threads=threads) as pipeline:
        probe = find_probe(pipeline, photo, place)
        if stored:
            ranking = rank_gallery(stored, probe, top=top, where=chosen, exact=exact)
            names = _short_names([match.source for match in ranking.matches])
            compared = f"{ranking.people:,} people in the gallery {gallery[0]}{f', where {where}' if where else ''}"
        else:
            ranking = _rank_scenes(pipeline, probe, scenes, top)
            names = [str(scenes[Path(match.source)]) for match in ranking.matches]
            read = len(scenes) - len(ranking.failures)
            compared = f"{ranking.people} people in {read} of {len(scenes)} scenes compared"
        _print_ranking(probe, ranking.matches, names)
        for failure in ranking.failures:
            warn(f"skipped: {failure}")
        out.print(compared, soft_wrap=True, markup=False)
        notice_untrained(opened.manifest)
    if sheet:
        write_image(sheet, ranking_sheet(probe, ranking.matches))
        out.print(f"Drawn to {sheet}")
    if json_file:
        _write_json(json_file, probe, ranking.matches)
    if ranking.failures and strict:
        raise typer.Exit(1)


@gallery_app.command()
def info(
    gallery: GalleryArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show what a gallery holds, and for which model."""
    from mgts_trt.gallery import Gallery

    with Gallery.open(gallery) as opened:
        summary, space = asdict(opened.summary()), opened.space.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps({"gallery": gallery, **summary, "space": space}, indent=2))
        return
    shown = table("gallery", gallery)
    for name, value in {**summary, **space}.items():
        shown.add_row(name, f"{value:,}" if isinstance(value, int) else "unknown" if value is None else str(value))
    out.print(shown)


@gallery_app.command()
def forget(
    gallery: GalleryArgument,
    source: Annotated[str, typer.Argument(help="The picture, video or stream, as search shows it.")],
) -> None:
    """Remove everybody a picture, video or stream brought, for good."""
    from mgts_trt.gallery import Gallery

    name = source if "://" in source else os.path.abspath(source)
    with Gallery.open(gallery) as opened:
        before = opened.summary()
        people = opened.forget(name)
        frames = before.frames - opened.summary().frames
    if not people and not frames:
        raise GalleryError(f"The gallery {gallery} has nothing of {name}. Name a source as `search --json` writes it.")
    out.print(f"Forgot {people} people in {frames} frames of {name}")


@gallery_app.command()
def optimise(gallery: GalleryArgument) -> None:
    """Gather small files and bring the index up to date; index does so at its end, too."""
    from mgts_trt.gallery import Gallery

    with Gallery.open(gallery) as opened:
        opened.optimise()
        summary = opened.summary()
    out.print(f"{summary.indexed:,} of {summary.people:,} people are in the index; smaller galleries need none")


@contextmanager
def _stopping() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that Ctrl-C and SIGTERM set, and which of them did; a second one breaks off at once."""
    stop, signals = threading.Event(), list[int]()

    def on_signal(number: int, _: object) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_report(report: "IndexReport", gallery: str) -> None:
    for failure in report.failures[:_SHOWN_FAILURES]:
        warn(f"not indexed: {failure.error}")
    if len(report.failures) > _SHOWN_FAILURES:
        warn(f"… and {len(report.failures) - _SHOWN_FAILURES} more")
    parts = [f"{report.frames:,} frames with {report.people:,} people indexed"]
    parts += [f"{report.skipped:,} were there already"] * bool(report.skipped)
    parts += [f"{report.dropped:,} of live streams passed over"] * bool(report.dropped)
    parts += [f"{len(report.failures):,} failed and will be tried again next time"] * bool(report.failures)
    out.print(f"{', '.join(parts)}; {report.rate:.1f} images/s; gallery {gallery}", soft_wrap=True)
    if report.interrupted:
        out.print("Interrupted; what had been searched is stored. Run the same command again to go on.")


def _stored_gallery(places: Sequence[str], bundle: Bundle, mode: Mode | None) -> "Gallery | None":
    """The gallery that was indexed, if one was named; None for photos and folders."""
    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.store import is_gallery

    stored = [place for place in places if is_gallery(place)]
    if not stored:
        return None
    if len(places) > 1:
        raise GalleryError(
            f"{stored[0]} is a gallery that was indexed, and {len(places) - 1} more places were named. Search one such "
            "gallery at a time, or photos and folders alone."
        )
    gallery = Gallery.open(stored[0])
    if mode is not None and mode != gallery.space.mode:
        raise GalleryError(
            f"The gallery {stored[0]} was indexed in mode {gallery.space.mode}, and mode {mode} was asked for: their "
            "embeddings cannot be compared. Leave --mode out, or index the pictures in that mode into another gallery."
        )
    gallery.space.require_same(Space.of(bundle, gallery.space.mode), what=f"The gallery {stored[0]}")
    return gallery


def _scenes(places: Sequence[str], photo: Path) -> dict[Path, Path]:
    """Scene → name, without the probe's own photo."""
    from mgts_trt.pictures.image import list_pictures

    for place in places:
        if not Path(place).exists():
            raise GalleryError(
                f"There is no {place}: a gallery made by `mgts-trt index`, a photo, or a folder of photos is expected. "
                "Check the path's spelling."
            )
    pictures = list_pictures([Path(place) for place in places])
    return {path: name for path, name in pictures if not (photo.exists() and path.samefile(photo))}


def _rank_scenes(pipeline: "PersonSearch", probe: "Probe", scenes: dict[Path, Path], top: int) -> "Ranking":
    from mgts_trt.gallery.ranking import rank

    with progress() as bar:
        task = bar.add_task("searching", total=len(scenes))
        return rank(pipeline, probe, scenes, top=top, on_scene=lambda _: bar.advance(task))


def _print_ranking(probe: "Probe", matches: Sequence["Match"], names: Sequence[str]) -> None:
    """Ranks in a table; camera and time have columns where any match has them."""
    from mgts_trt.gallery.probe import box_text

    cameras, times = (any(match.camera for match in matches), any(match.time for match in matches))
    headings = [">rank", ">likeness", ">score", *["camera"] * cameras, *["time"] * times, "scene", "box x,y,w,h"]
    shown = table(*headings, title=f"{probe.source.name}@{box_text(probe.box)}")
    for column in shown.columns:
        # Names take another line where the screen is narrow, numbers never.
        column.no_wrap, column.overflow = column.header not in ("camera", "scene"), "fold"
    for place, (match, name) in enumerate(zip(matches, names, strict=True), 1):
        seen = [match.camera or ""] * cameras + [match.time] * times
        row = [str(place), f"{match.likeness:.3f}", f"{match.score:.2f}", *seen, name, box_text(match.box)]
        shown.add_row(*(escape(cell) for cell in row))
    out.print(shown)


def _short_names(sources: Sequence[str]) -> list[str]:
    """Paths without the folder that all of them lie in; URLs as they are."""
    paths = [source for source in sources if "://" not in source]
    base = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(source, base) if source in paths else source for source in sources]


def _write_json(file: Path, probe: "Probe", matches: Sequence["Match"]) -> None:
    about = {"query": str(probe.source), "box": [round(float(value), 2) for value in probe.box]}
    ranked = [{"rank": place, **match.to_dict()} for place, match in enumerate(matches, 1)]
    write_text(file, json.dumps({**about, "matches": ranked}, indent=1) + "\n")
