"""`mgts-trt index`: photos, videos and live streams into a gallery."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, warn
from mgts_trt.cli.days import days_galleries, stored_days_mode
from mgts_trt.cli.keep_times import apply_policy
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    DecodeOption,
    FlavourOption,
    GalleryKeyOption,
    MetricsOption,
    ModeOption,
    PatienceOption,
    PrecisionOption,
    ThreadsOption,
    TransportOption,
)
from mgts_trt.cli.recalling import let_in
from mgts_trt.cli.recorded import recorded
from mgts_trt.cli.stopping import stopping
from mgts_trt.counts import frames_of, people_of
from mgts_trt.errors import MgtsError
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.indexing.index import IndexReport

_SHOWN_FAILURES = 20
_MARKED = 64
"""Sources that the log has marks of, as they were named."""


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders of them, patterns like 'shop/**/*.jpg', URLs of streams or of "
            "photos in a bucket, or @FILE with these, one a line.",
        ),
    ],
    gallery: Annotated[
        str, typer.Option("--gallery", "-g", help="Folder or URL of the gallery; made if it is not there.")
    ],
    partition: Annotated[
        Literal["day"] | None,
        typer.Option(help="Make the gallery a folder of galleries, one for each day (UTC)."),
    ] = None,
    gallery_key: GalleryKeyOption = None,
    bundle: BundleOption = None,
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
    rtsp_transport: TransportOption = "tcp",
    patience: PatienceOption = 10.0,
    silence: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="S",
            help="Of live streams: whoever was not seen for S seconds has gone, and is seen anew when they come back. "
            "By default 5.",
        ),
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Give a live stream up that brings no frame in N attempts; otherwise never."
        ),
    ] = None,
    metrics: MetricsOption = None,
    recall: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Let a source in that was forgotten; may be repeated."),
    ] = None,
    thumbnails: Annotated[bool, typer.Option(help="Keep a small picture of each person.")] = True,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    decode: DecodeOption = "auto",
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Search up to N pictures together, as they are read; by default what TensorRT plans are built for, "
            "and 1 elsewhere.",
        ),
    ] = None,
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
        float,
        typer.Option(
            min=0.0,
            metavar="G",
            help="GPUs of each worker, which it must be able to use; 0.5 puts two on one. Without, CPUs alone.",
        ),
    ] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if something is damaged or not read.")] = False,
) -> None:
    """Put the people of photos, videos and live streams into a gallery.

    Run it again to go on after an interruption, and after pictures were added or changed: what is there is skipped.
    """
    from rich.progress import TextColumn

    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.manifest import MANIFEST
    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.indexing.camera_metrics import exposed
    from mgts_trt.gallery.indexing.cameras import Cameras, up_of
    from mgts_trt.gallery.indexing.index import IndexReport
    from mgts_trt.gallery.indexing.index import index as run_index
    from mgts_trt.gallery.indexing.reading import LiveOptions
    from mgts_trt.gallery.indexing.sources import find_sources, from_lists
    from mgts_trt.gallery.store import stored_mode
    from mgts_trt.gallery.watched import told_beside
    from mgts_trt.machine.files import place_kind
    from mgts_trt.pictures.folders import Found
    from mgts_trt.runtime.modes import default_mode
    from mgts_trt.runtime.pipeline import PersonSearch

    if workers is None and (ray_address or gpus_per_worker):
        raise MgtsError("--ray-address and --gpus-per-worker are for several workers. Say how many with --workers N.")
    sources = from_lists(sources)
    if place_kind(Path(sources[0]) / MANIFEST) is not None:
        raise MgtsError(f"{sources[0]} is a bundle, not pictures. Name it with --bundle {sources[0]}.")
    beside = Found()
    found = find_sources(sources, camera=camera, camera_pattern=camera_pattern, beside=beside)
    folder = find_bundle(bundle)
    opened = Bundle.open(folder)
    mode = mode or stored_days_mode(gallery, partition) or stored_mode(gallery) or default_mode(opened)
    cameras = Cameras()
    live = LiveOptions(limit, duration, attempts=attempts, patience=patience, transport=rtsp_transport)
    live = live if silence is None else live._replace(silence=silence)
    places: Iterable[tuple[str, float | None]] = [(gallery, duration)]
    if partition:
        places, recall = days_galleries(gallery, opened, mode, found, duration, recall or []), None
    with (
        nullcontext()
        if workers
        else PersonSearch(
            opened, mode=mode, backend=backend, precision=precision, threads=threads, batch_size=batch
        ) as pipeline,
        stopping(alone=not workers) as (stop, signals),
        nullcontext() if metrics is None else exposed(cameras, metrics),
    ):

        def fill(store: Gallery, live: LiveOptions) -> IndexReport:
            with progress(TextColumn("{task.fields[rate]}")) as bar:
                task = bar.add_task("indexing", total=None, rate="")

                def on_progress(report: IndexReport) -> None:
                    done = report.frames + report.skipped + len(report.failures)
                    doing = "stopping" if stop.is_set() else "indexing"
                    rate = f"{report.rate:.1f} images/s"
                    if report.cameras:
                        rate += f", {up_of(report.cameras)} of {len(report.cameras)} cameras up"
                    bar.update(task, total=report.expected, completed=done, rate=rate, description=doing)

                def on_warm_up(done: int, steps: int) -> None:
                    bar.update(task, description=f"warming up, {done} of {steps}")

                if pipeline:
                    return run_index(
                        pipeline,
                        found,
                        store,
                        every=every,
                        decode=decode,
                        thumbnails=thumbnails,
                        live=live,
                        cameras=cameras,
                        stop=stop,
                        on_progress=on_progress,
                        on_note=warn,
                        on_warm_up=on_warm_up,
                    )
                from mgts_trt.gallery.indexing.ray_index import index_with_ray

                return index_with_ray(
                    folder,
                    found,
                    store,
                    workers=workers or 1,
                    address=ray_address,
                    gpus_per_worker=gpus_per_worker,
                    threads=threads,
                    backend=backend,
                    precision=precision,
                    batch_size=batch,
                    every=every,
                    decode=decode,
                    thumbnails=thumbnails,
                    stop=stop,
                    on_progress=on_progress,
                )

        for place, seconds in places:
            with (
                Gallery.create(place, Space.of(opened, mode)) as store,
                recorded(store.url, "index", changes=True, subjects={"source": sources[:_MARKED]}) as done,
                told_beside(place, cameras.as_dicts) if any(each.kind == "stream" for each in found) else nullcontext(),
            ):
                _prepare(store, place, recall or [])
                report = fill(store, live._replace(duration=seconds))
                done.rows = report.people
                if len(report.failures) == 1 == len(found) and not report.frames + report.skipped:
                    raise report.failures[0].error
            _print_report(report, place)
            if stop.is_set():
                break
        for sentence in beside.told:
            warn(f"{sentence}.")
        notice_untrained(opened.manifest)
    if signals:
        raise typer.Exit(128 + signals[0])
    if report.failures and not report.frames + report.skipped:
        raise MgtsError(f"Nothing was indexed: {len(report.failures)} of {len(found)} sources failed, as said above.")
    if strict and (report.failures or report.damaged or beside.unseen):
        raise typer.Exit(1)


def _prepare(store: "Gallery", place: str, recall: Sequence[str]) -> None:
    """What comes before a gallery is filled: its policy, sources let in again, and what it lacks."""
    from mgts_trt.gallery.forgetting import recall as lift

    apply_policy(store)
    let_in(store.url, partial(lift, store), recall)
    if store.sightings is None:
        warn(
            f"the gallery has format {store.format}, without sightings: people are found frame by frame. "
            f"`mgts-trt gallery upgrade {without_login(place)}` makes them."
        )


def _print_report(report: "IndexReport", gallery: str) -> None:
    from mgts_trt.gallery.indexing.cameras import told_in_words

    told = [f"not indexed: {failure.error}" for failure in report.failures]
    for sentences in (told, [f"indexed as far as it could be decoded: {damage}" for damage in report.damaged]):
        for sentence in sentences[:_SHOWN_FAILURES]:
            warn(sentence)
        if len(sentences) > _SHOWN_FAILURES:
            warn(f"… and {len(sentences) - _SHOWN_FAILURES} more")
    parts = [f"{frames_of(report.frames)} with {people_of(report.people)} indexed"]
    parts += [f"{report.skipped:,} were there already"] * bool(report.skipped)
    parts += [f"{report.corrected:,} are of another camera now"] * bool(report.corrected)
    parts += [f"{report.left_out:,} left out, as forgotten (--recall SOURCE lets in)"] * bool(report.left_out)
    parts += [f"{report.dropped:,} of live streams passed over"] * bool(report.dropped)
    parts += [f"{len(report.damaged):,} of damaged files"] * bool(report.damaged)
    parts += [f"{len(report.failures):,} failed and will be tried again next time"] * bool(report.failures)
    out.print(f"{', '.join(parts)}; {report.rate:.1f} images/s; gallery {without_login(gallery)}")
    for state in report.cameras:
        out.print(f"camera {state.name}: {told_in_words(state)}")
    if report.interrupted:
        out.print("Interrupted; what had been searched is stored. Run the same command again to go on.")
