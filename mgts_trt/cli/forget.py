"""`mgts-trt gallery forget`: a source, a person, what a camera saw, or a time."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, out, table, warn
from mgts_trt.cli.days import forget_in_days
from mgts_trt.cli.galleries import GalleryArgument
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    FlavourOption,
    GalleryKeyOption,
    PrecisionOption,
    ThreadsOption,
)
from mgts_trt.cli.outputs import PictureOption, write_picture
from mgts_trt.cli.recalling import STAYS_OUT
from mgts_trt.cli.recorded import recorded
from mgts_trt.counts import frames_of, people_of
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt.choices import Backend
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.choosing import Choice, Chosen
    from mgts_trt.gallery.match import Match
    from mgts_trt.gallery.probe import Probe

_SHOWN = 40
"""Of those who would go; of more, the most and the least alike."""


def forget(
    gallery: GalleryArgument,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]", help="The picture, video or stream, as search shows it; all that it brought."
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query", "-q", help="A person: PHOTO@x1,y1,x2,y2 as search takes it; again for further photos of them."
        ),
    ] = None,
    likeness: Annotated[
        float | None, typer.Option(metavar="S", help="With --query: whoever is at least so similar, such as 0.6.")
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(help="Or: from the similarity on that so small a share of other people reach, such as 1e-4."),
    ] = None,
    camera: Annotated[str | None, typer.Option(metavar="NAME", help="Whoever this camera saw.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Whoever was seen from 2030-12-31 or 2030-12-31T08:00 on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Whoever was seen until then; a day alone is its beginning.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show who would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Forget whom the table shows, and do not ask.")] = False,
    sheet: PictureOption = None,
    bundle: BundleOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    gallery_key: GalleryKeyOption = None,
) -> None:
    """Erase for good what a source brought; or a person, what a camera saw, a time, and what fulfils several of these.

    Who would go is shown first, and asked for. --sheet draws them, to be looked at.
    """
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.choosing import Choice, choose
    from mgts_trt.gallery.day_part import is_partitioned
    from mgts_trt.gallery.source_names import find_source
    from mgts_trt.gallery.writing import finish

    chosen_by = any(given is not None for given in (camera, since, until)) or bool(query)
    if not query and (likeness, far) != (None, None):
        raise MgtsError("--likeness and --far tell how similar to a person, and none is named. Name one with --query.")
    if query and (likeness is None) == (far is None):
        raise MgtsError("From which similarity on is it the person? Give one of --far, such as 1e-4, and --likeness.")
    moments = [_moment(option, text) for option, text in (("--since", since), ("--until", until))]
    if is_partitioned(gallery) and source is not None and not (chosen_by or dry_run or sheet):
        forget_in_days(gallery, source)
        return
    with Gallery.open(gallery) as opened:
        if finish(opened):
            out.print("Finished an erasure that was cut off")
        name = None if source is None else find_source(opened, source)
        if name is not None and not (chosen_by or dry_run or sheet):
            _forget_source(opened, name)
            return
        probes: list[Probe] = []
        question = None
        if query:
            probes, least = _probes(opened, query, likeness, far, bundle, backend, precision, threads)
            from mgts_trt.gallery.question import Question

            question, likeness = Question.of(probes, include_own=True), least
        choice = Choice(question, likeness, camera, moments[0], moments[1], name)
        about = _about(choice, probes)
        with recorded(opened.url, "forget", **{**about, "more": {**about["more"], "dry_run": True}}) as done:
            chosen = choose(opened, choice)
            done.rows = chosen.people
            _show(opened, chosen, probes, sheet)
        if dry_run or not chosen:
            out.print("Nothing was changed")
            return
        _ask(yes)
        if name is not None and not chosen_by:
            _forget_source(opened, name)
            return
        _forget_chosen(opened, chosen, about)


def _forget_source(opened: "Gallery", name: str) -> None:
    before = opened.summary()
    with recorded(opened.url, "forget", changes=True, subjects={"source": [name]}) as done:
        people = done.rows = opened.forget(name)
    out.print(f"Forgot {people_of(people)} in {frames_of(before.frames - opened.summary().frames)} of {name}")
    out.print(STAYS_OUT)


def _forget_chosen(opened: "Gallery", chosen: "Chosen", about: dict[str, Any]) -> None:
    from mgts_trt.gallery.choosing import forget_chosen

    with recorded(opened.url, "forget", changes=True, **about) as done:
        erased = forget_chosen(opened, chosen)
        done.rows = erased.people
    out.print(f"Forgot {_in_words(erased.sightings, chosen.photos, erased.people)}")
    files = sum(bool(each.contents) for each in chosen.keep_out)
    if files:
        whole = f"{files:,} file{'s' * (files != 1)} that lay whole within"
        out.print(f"{whole} stay{'s' * (files == 1)} out; `mgts-trt index … --recall SOURCE` lets a source in again.")


def _ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise MgtsError("Nobody was forgotten: there is nobody here to be asked. Look at who it is, and say --yes.")
    if not typer.confirm("Forget them for good?"):
        out.print("Nobody was forgotten")
        raise typer.Exit(1)


def _probes(
    opened: "Gallery",
    query: Sequence[str],
    likeness: float | None,
    far: float | None,
    bundle: Path | None,
    backend: "Backend",
    precision: str,
    threads: int | None,
) -> tuple[list["Probe"], float]:
    """The person in each photo, and from which likeness on somebody is them."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.likeness import Likeness, least_cosine
    from mgts_trt.gallery import Space
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.runtime.pipeline import PersonSearch

    asked = [parse_query(text) for text in query]
    held = Bundle.open(find_bundle(bundle))
    mode = opened.space.mode
    opened.space.require_same(Space.of(held, mode), what=f"The gallery {opened.url}")
    with ExitStack() as stack:
        pipeline = stack.enter_context(
            PersonSearch(held, mode=mode, backend=backend, precision=precision, threads=threads)
        )
        least = likeness if far is None else least_cosine(Likeness.of(held, mode), far, mode)
        assert least is not None
        notice_untrained(held.manifest)
        return [find_probe(pipeline, *each) for each in asked], least


def _about(choice: "Choice", probes: Sequence["Probe"]) -> dict[str, Any]:
    """What the log has of it."""
    subjects = {"source": choice.source, "camera": choice.camera}
    more = {"likeness": choice.least, "since": choice.since, "until": choice.until}
    return {
        "subjects": {name: [value] for name, value in subjects.items() if value is not None},
        "probes": [probe.source for probe in probes],
        "more": {name: value for name, value in more.items() if value is not None},
    }


def _show(opened: "Gallery", chosen: "Chosen", probes: Sequence["Probe"], sheet: Path | None) -> None:
    from mgts_trt.gallery.asking import matches_of
    from mgts_trt.gallery.choosing import shown
    from mgts_trt.gallery.sheet import ranking_sheet

    found = shown(opened, chosen, _SHOWN)
    matches = matches_of(opened, found, pictures=sheet is not None)
    if matches:
        _print_table(matches, ranked=bool(probes))
    left = chosen.sightings + chosen.photos - len(matches)
    if left:
        out.print(f"… and {left:,} more" + (", between the most and the least similar" if probes else ""))
    if chosen:
        out.print(f"Would be forgotten: {_in_words(chosen.sightings, chosen.photos, chosen.people)}")
    else:
        out.print("Nobody in the gallery fulfils this")
    if chosen.timeless:
        warn(
            f"of {people_of(chosen.timeless)} in photos and videos no clock is known, so no time was asked for; they "
            "follow their files: mgts-trt gallery sync."
        )
    if sheet:
        write_picture(sheet, ranking_sheet(probes, matches, ranked=bool(probes)))
        out.print(f"Drawn to {sheet}")


def _print_table(matches: Sequence["Match"], *, ranked: bool) -> None:
    from mgts_trt.gallery.probe import box_text
    from mgts_trt.gallery.source_names import short_names

    columns: list[tuple[str, list[str]]] = [
        (">similarity", [f"{match.likeness:.3f}" if ranked else "" for match in matches]),
        ("camera", [match.camera or "" for match in matches]),
        (">time", [match.time for match in matches]),
        (">frames", [f"{match.stay.frames:,}" if match.stay else "" for match in matches]),
        ("scene", short_names([match.source for match in matches])),
        (">box x1,y1,x2,y2", [box_text(match.box) for match in matches]),
    ]
    kept = [(heading, cells) for heading, cells in columns if any(cells)]
    listed = table(*(heading for heading, _ in kept), title="who would go")
    for row in zip(*(cells for _, cells in kept), strict=True):
        listed.add_row(*row)
    out.print(listed)


def _in_words(sightings: int, photos: int, people: int) -> str:
    """`2 sightings and 1 person of photos, 25 embeddings in all`."""
    parts = [f"{sightings:,} sighting{'s' * (sightings != 1)}"] * bool(sightings)
    parts += [f"{people_of(photos)} of photos"] * bool(photos or not sightings)
    return f"{' and '.join(parts)}, {people:,} embedding{'s' * (people != 1)} in all"


def _moment(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise MgtsError(
            f"{option} {text[:100]!r} is no time: expected a day or time such as 2030-12-31T08:00."
        ) from error
