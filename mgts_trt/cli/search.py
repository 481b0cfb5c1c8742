"""`mgts-trt search`: a person in a gallery, or in photos."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, table, warn
from mgts_trt.cli.days import open_days, read_day
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    FlavourOption,
    GalleryKeyOption,
    ModeOption,
    PrecisionOption,
    ThreadsOption,
)
from mgts_trt.cli.outputs import JsonOption, PictureOption, write_json, write_picture
from mgts_trt.cli.recorded import recorded
from mgts_trt.counts import people_of
from mgts_trt.errors import GalleryError, MgtsError
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.match import Match
    from mgts_trt.gallery.probe import Probe
    from mgts_trt.gallery.question import Question
    from mgts_trt.gallery.ranking import Ranking
    from mgts_trt.runtime.pipeline import PersonSearch


def search(
    query: Annotated[
        list[str],
        typer.Option(
            "--query",
            "-q",
            help="The probe: PHOTO@x1,y1,x2,y2 is that box, PHOTO@x,y whoever is nearest to it, PHOTO the largest. "
            "Again for further photos of the same person.",
        ),
    ],
    gallery: Annotated[
        list[str],
        typer.Option("--gallery", "-g", help="A gallery made by index; or photos and folders, with no index made."),
    ],
    gallery_key: GalleryKeyOption = None,
    bundle: BundleOption = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--not", help="Somebody who looks like the probe and is not, as --query; may be repeated."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many matches to show.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Search among these alone: camera=3,time>=10,source~shop. Of a gallery.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Of galleries by day, from this day on: 2026-11-28, UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Of galleries by day, up to this day.")] = None,
    camera: Annotated[str | None, typer.Option(help="Of galleries by day, this camera alone.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with everybody in the gallery, without index.")] = (
        False
    ),
    frames: Annotated[
        bool, typer.Option("--frames", help="People frame by frame, not as sightings. Of a gallery.")
    ] = False,
    far: Annotated[
        float | None,
        typer.Option(help="Show whom so small a share of other people would look as much alike as, such as 1e-3."),
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Rank the first 100 again by who is alike to whom. Of a gallery.")
    ] = False,
    include_own: Annotated[
        bool,
        typer.Option("--include-own", help="Compare with the people of the probes' own photos, too."),
    ] = False,
    mode: ModeOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    sheet: PictureOption = None,
    blur_others: Annotated[
        bool, typer.Option("--blur-others", help="On the sheet, cover everybody in the crops but whom they are of.")
    ] = False,
    json_file: JsonOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a scene is damaged or not read.")] = False,
) -> None:
    """Find a person in a gallery, or in photos: everybody there, ranked by similarity to the probe.

    --sheet draws the probe and the matches side by side, as the paper's Fig. 7.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.likeness import Likeness, least_cosine
    from mgts_trt.gallery import parse_filter
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.question import Question
    from mgts_trt.gallery.ranking import rank_gallery
    from mgts_trt.gallery.sheet import ranking_sheet
    from mgts_trt.gallery.source_names import short_names
    from mgts_trt.runtime.pipeline import PersonSearch

    if blur_others and sheet is None:
        raise MgtsError("--blur-others is for the sheet, and none is drawn. Name its file with --sheet.")
    asked, others = [[parse_query(text) for text in texts or ()] for texts in (query, negative)]
    chosen = parse_filter(where) if where is not None else None
    opened = Bundle.open(find_bundle(bundle))
    first, last = read_day("--since", since), read_day("--until", until)
    by_day = open_days(gallery, opened, mode)
    if by_day and rerank:
        raise MgtsError("--rerank compares people of one gallery. Name one day's, or leave --rerank out.")
    if not by_day and (first or last or camera is not None):
        raise MgtsError(
            "--since, --until and --camera pick among galleries by day (index --partition day). Elsewhere use --where."
        )
    stored = None if by_day else _stored_gallery(gallery, opened, mode)
    for option, given in ((f"--where {where}", where is not None), ("--frames", frames), ("--rerank", rerank)):
        if stored is None and by_day is None and given:
            raise MgtsError(
                f"{option} needs a gallery that was indexed, and {', '.join(gallery)} is none. Make one with "
                f"`mgts-trt index`, or leave {option.split()[0]} out."
            )
    if stored and sheet:
        stored.encryption.require_key()
    held = stored or by_day
    chosen_mode = held.space.mode if held else mode
    scenes, unseen = ({}, []) if held else _scenes(gallery)
    with PersonSearch(opened, mode=chosen_mode, backend=backend, precision=precision, threads=threads) as pipeline:
        curve = Likeness.of(opened, pipeline.mode)
        least = None if far is None else least_cosine(curve, far, pipeline.mode)
        probes, negatives = (
            [find_probe(pipeline, *each, hide_others=blur_others) for each in part] for part in (asked, others)
        )
        question = Question.of(probes, negatives, include_own=include_own)
        if held:
            with recorded(held.url, "search", probes=[photo for photo, _ in asked]) as done:
                asking: dict[str, Any] = {"top": top, "where": chosen, "exact": exact, "frames": frames, "least": least}
                asking |= {"hide_others": blur_others, "pictures": sheet is not None}
                if by_day:
                    ranking = by_day.rank(question, since=first, until=last, camera=camera, **asking)
                elif stored:
                    ranking = rank_gallery(stored, question, again=rerank, **asking)
                done.rows = len(ranking.matches)
            names = short_names([match.source for match in ranking.matches])
            compared = _told(ranking) + f" in the gallery {without_login(gallery[0])}"
            compared += f", where {where}" if where else ""
        else:
            ranking = _rank_scenes(pipeline, question, scenes, top, least, blur_others)
            names = [str(scenes[Path(match.source)]) for match in ranking.matches]
            there = len(scenes) - ranking.own
            compared = f"{people_of(ranking.people)} in {there - len(ranking.failures)} of {there} scenes compared"
        matches = ranking.matches
        if curve:
            matches = [replace(match, false_rate=curve.far(match.likeness)) for match in matches]
        if json_file:
            _write_json(json_file, probes, negatives, matches)
        if sheet:
            write_picture(sheet, ranking_sheet(probes, matches, negatives=negatives))
        _print_ranking(probes, matches, names)
        for failure in ranking.failures:
            warn(f"skipped: {failure}")
        for damage in ranking.damaged:
            warn(f"searched as far as it could be decoded: {damage}")
        out.print(compared)
        if least is not None:
            out.print(f"Shown from a similarity of {least:.3f} on, which {far:g} of other people reach")
        notice_untrained(opened.manifest)
    if sheet:
        out.print(f"Drawn to {sheet}")
    if strict and (ranking.failures or ranking.damaged or unseen):
        raise typer.Exit(1)


def _told(ranking: "Ranking") -> str:
    """Among how many was searched."""
    if not ranking.sightings:
        return people_of(ranking.people)
    sightings = f"{ranking.sightings:,} sighting{'s' * (ranking.sightings != 1)}"
    return f"{sightings} and {people_of(ranking.people)} of photos" if ranking.people else sightings


def _stored_gallery(places: Sequence[str], bundle: "Bundle", mode: Mode | None) -> "Gallery | None":
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


def _scenes(places: Sequence[str]) -> tuple[dict[Path, Path], list[str]]:
    """Scene → name; and sentences on what could not be looked into."""
    from mgts_trt.machine.files import place_kind
    from mgts_trt.pictures.folders import list_pictures

    for place in places:
        if place_kind(Path(place)) is None:
            raise GalleryError(
                f"There is no {place}: a gallery made by `mgts-trt index`, a photo, or a folder of photos is expected. "
                "Check the path's spelling."
            )
    pictures, found = list_pictures([Path(place) for place in places])
    for sentence in found.told:
        warn(f"{sentence}.")
    return dict(pictures), found.unseen


def _rank_scenes(
    pipeline: "PersonSearch",
    question: "Question",
    scenes: dict[Path, Path],
    top: int,
    least: float | None,
    hide_others: bool,
) -> "Ranking":
    from mgts_trt.gallery.ranking import rank

    with progress() as bar:
        task = bar.add_task("searching", total=len(scenes))
        return rank(
            pipeline,
            question,
            scenes,
            top=top,
            least=least,
            hide_others=hide_others,
            on_scene=lambda _: bar.advance(task),
        )


def _print_ranking(probes: Sequence["Probe"], matches: Sequence["Match"], names: Sequence[str]) -> None:
    """Ranks in a table; what some matches have and others never do has a column where any match has it."""
    from mgts_trt.gallery.probe import box_text

    columns: list[tuple[str, list[str]]] = [
        (">rank", [str(place) for place in range(1, len(matches) + 1)]),
        (">similarity", [f"{match.likeness:.3f}" for match in matches]),
        (">false match", ["" if match.false_rate is None else f"{match.false_rate:.1g}" for match in matches]),
        (">score", [f"{match.score:.2f}" for match in matches]),
        ("camera", [match.camera or "" for match in matches]),
        (">time", [match.time for match in matches]),
        (">frames", [f"{match.stay.frames:,}" if match.stay else "" for match in matches]),
        ("scene", list(names)),
        (">box x1,y1,x2,y2", [box_text(match.box) for match in matches]),
    ]
    shown_always = (">rank", ">similarity", ">score", "scene", ">box x1,y1,x2,y2")
    kept = [(heading, cells) for heading, cells in columns if heading in shown_always or any(cells)]
    title = f"{probes[0].source.name}@{box_text(probes[0].box)}"
    title += f" and {len(probes) - 1} more" if len(probes) > 1 else ""
    shown = table(*(heading for heading, _ in kept), title=title)
    for row in zip(*(cells for _, cells in kept), strict=True):
        shown.add_row(*row)
    out.print(shown)


def _write_json(
    file: Path, probes: Sequence["Probe"], negatives: Sequence["Probe"], matches: Sequence["Match"]
) -> None:
    def told(probe: "Probe") -> dict[str, object]:
        return {"query": str(probe.source), "box": [round(float(value), 2) for value in probe.box]}

    about = {
        **told(probes[0]),
        "more": [told(probe) for probe in probes[1:]],
        "not": [told(each) for each in negatives],
    }
    ranked = [{"rank": place, **match.to_dict()} for place, match in enumerate(matches, 1)]
    write_json(file, json.dumps({**{key: value for key, value in about.items() if value}, "matches": ranked}, indent=1))
