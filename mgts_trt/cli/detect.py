"""`mgts-trt detect`: pictures and videos in, JSON and annotated pictures and videos out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, warn
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    DecodeOption,
    FlavourOption,
    ModeOption,
    PrecisionOption,
    ThreadsOption,
    TopOption,
    TransportOption,
)
from mgts_trt.cli.outputs import make_folder
from mgts_trt.cli.stopping import stopping
from mgts_trt.counts import frames_of, people_of
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgts_trt.annotating.annotate import Report
    from mgts_trt.annotating.blurring import Blur
    from mgts_trt.annotating.inputs import Input
    from mgts_trt.runtime.pipeline import PersonSearch


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders of them, patterns like 'shop/**/*.mp4', the number of a webcam, or URLs of "
            "streams.",
        ),
    ],
    bundle: BundleOption = None,
    out_folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for JSON and annotated pictures and videos.")
    ] = Path("out"),
    mode: ModeOption = None,
    people: TopOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    decode: DecodeOption = "auto",
    draw: Annotated[bool, typer.Option(help="Write annotated pictures and videos.")] = True,
    masks: Annotated[bool | None, typer.Option(help="Draw masks; by default in photos alone.")] = None,
    embeddings: Annotated[
        bool | None, typer.Option(help="Put embeddings into the JSON; by default into that of photos alone.")
    ] = None,
    track: Annotated[bool, typer.Option(help="Give people in videos and streams the numbers of their tracks.")] = True,
    blur: Annotated[bool, typer.Option("--blur", help="Cover everybody in what is drawn.")] = False,
    blur_others: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUERY",
            help="Cover everybody but this person: PHOTO@x1,y1,x2,y2, PHOTO@x,y or PHOTO. Again for further photos of "
            "the same person.",
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(help="Take for that person whom so small a share of others would look as alike as, such as 1e-4."),
    ] = None,
    likeness: Annotated[
        float | None,
        typer.Option(min=-1.0, max=1.0, help="Take for that person who is at least so much alike, instead of --far."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Of videos and streams, every N-th frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of each webcam and stream, N frames.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Watch each webcam and stream for S seconds.")
    ] = None,
    rtsp_transport: TransportOption = "tcp",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a picture is damaged, or something was not read or written."),
    ] = False,
) -> None:
    """Find and describe the people in photos, videos and streams.

    A photo's results are NAME.json and NAME.people.jpg; of all others NAME.jsonl, a line a frame, and NAME.people.mp4.
    """
    from rich.progress import TextColumn

    from mgts_trt.annotating.annotate import annotate
    from mgts_trt.annotating.inputs import check_names, find_inputs
    from mgts_trt.annotating.results import Wanted, fitting_mode
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery.indexing.reading import LiveOptions
    from mgts_trt.runtime.modes import default_mode
    from mgts_trt.runtime.pipeline import PersonSearch

    inputs, beside = find_inputs(sources, out=out_folder)
    make_folder(out_folder)
    check_names(inputs, out_folder)
    hides = _hides(blur, blur_others, far, likeness, people)
    wanted = Wanted(draw, masks, embeddings, track, hides)
    opened = Bundle.open(find_bundle(bundle))
    if mode is None:  # who is the person to show is told by the best embeddings, and where they are by their mask
        mode = default_mode(opened) if blur_others else fitting_mode(opened, inputs, wanted, precision)
    with (
        PersonSearch(
            opened, mode=mode, backend=backend, precision=precision, threads=threads, batch_size=None
        ) as search,
        stopping() as (stop, signals),
    ):
        if blur_others:
            wanted = replace(wanted, blur=_all_but(search, blur_others, far, likeness))
        with progress(TextColumn("{task.fields[rate]}")) as bar:
            task = bar.add_task("searching", total=None, rate="")

            def on_progress(report: "Report") -> None:
                doing = "stopping" if stop.is_set() else "searching"
                rate = f"{report.rate:.1f} frames/s"
                bar.update(task, total=report.expected, completed=report.searched, rate=rate, description=doing)

            report = annotate(
                search,
                inputs,
                out_folder,
                wanted=wanted,
                every=every,
                decode=decode,
                top=people,
                live=LiveOptions(limit, duration, transport=rtsp_transport),
                stop=stop,
                on_progress=on_progress,
                on_note=warn,
            )
        if len(report.failures) == 1 == len(inputs) and not report.frames:
            raise report.failures[0].error
        for failure in report.failures:
            warn(f"skipped: {failure.error}" if not _is_film(inputs, failure.source) else str(failure.error))
        for damage in report.damaged:
            warn(f"searched as far as it could be decoded: {damage}")
        for sentence in beside.told:
            warn(f"{sentence}.")
        out.print(f"{_summary(report, inputs, search)}; written to {out_folder}/")
        if report.interrupted:
            out.print("Interrupted; the files hold what had been searched.")
        notice_untrained(search.bundle.manifest)
    if signals:
        raise typer.Exit(128 + signals[0])
    if strict and (report.failures or report.damaged or beside.unseen):
        raise typer.Exit(1)


def _hides(
    blur: bool, others: list[str] | None, far: float | None, likeness: float | None, people: int | None
) -> "Blur | None":
    """Who is hidden, of an asked person not yet whom; what contradicts itself is refused."""
    from mgts_trt.annotating.blurring import Blur

    if blur and others:
        raise MgtsError("--blur covers everybody, --blur-others all but one person. Give one of them.")
    if others and (far is None) == (likeness is None):
        raise MgtsError("From when on is somebody the person to show? Give one of --far, such as 1e-4, and --likeness.")
    if not others and (far is not None or likeness is not None):
        raise MgtsError("--far and --likeness say who is the person of --blur-others. Name that person, too.")
    if (blur or others) and people is not None:
        raise MgtsError("With --people some who are seen are left out, and would not be covered. Leave it out.")
    return Blur() if blur or others else None


def _all_but(search: "PersonSearch", queries: list[str], far: float | None, likeness: float | None) -> "Blur":
    from mgts_trt.annotating.blurring import Blur
    from mgts_trt.evaluation.likeness import Likeness, least_cosine
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.question import Question

    if far is not None:
        likeness = least_cosine(Likeness.of(search.bundle, search.mode), far, search.mode)
    assert likeness is not None
    return Blur(Question.of([find_probe(search, *parse_query(text)) for text in queries]), likeness)


def _is_film(inputs: "Sequence[Input]", source: str) -> bool:
    return any(each.is_film for each in inputs if each.source == source)


def _summary(report: "Report", inputs: "Sequence[Input]", search: "PersonSearch") -> str:
    photos = [each for each in inputs if not each.is_film]
    films = len(inputs) - len(photos)
    places = []
    if photos:
        failed = sum(not _is_film(inputs, failure.source) for failure in report.failures)
        done = len(photos) - failed if not report.interrupted else report.photos
        places.append(f"{done} of {len(photos)} pictures")
    if films:
        places.append(f"{frames_of(report.frames)} of {films} {'video' if films == 1 else 'videos'}")
    found = people_of(report.people)
    if report.frames:
        found = f"{report.people:,} {'box' if report.people == 1 else 'boxes'}"
        found += f" in {report.tracks:,} {'track' if report.tracks == 1 else 'tracks'}" * bool(report.tracks)
    parts = [f"{found} in {' and '.join(places)}", f"mode {search.mode}"]
    parts += [f"{search.runtime.backend} on {search.runtime.device}"]
    parts += [f"{report.milliseconds / max(report.searched, 1):.0f} ms a picture"]
    parts += [f"{report.rate:.1f} frames/s"] * bool(report.frames)
    parts += [f"{report.dropped:,} frames of streams passed over"] * bool(report.dropped)
    return ", ".join(parts)
