"""`mgts-trt search`: a person in a gallery, or in photos."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, table, warn
from mgts_trt.cli.options import BackendOption, BundleOption, FlavourOption, ModeOption, PrecisionOption, ThreadsOption
from mgts_trt.cli.outputs import JsonOption, PictureOption, write_json, write_picture
from mgts_trt.counts import people_of
from mgts_trt.errors import GalleryError, MgtsError
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.probe import Probe
    from mgts_trt.gallery.ranking import Match, Ranking
    from mgts_trt.runtime.pipeline import PersonSearch


def search(
    query: Annotated[
        str,
        typer.Option(
            "--query",
            "-q",
            help="The probe: PHOTO@x1,y1,x2,y2 is that box, PHOTO@x,y whoever is nearest to it, PHOTO the largest.",
        ),
    ],
    gallery: Annotated[
        list[str],
        typer.Option("--gallery", "-g", help="A gallery made by index; or photos and folders, with no index made."),
    ],
    bundle: BundleOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many matches to show.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Search among these alone: camera=3,time>=10,source~shop. Of a gallery.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with everybody in the gallery, without index.")] = (
        False
    ),
    include_own: Annotated[
        bool,
        typer.Option("--include-own", help="Compare with the people of the probe's own photo, too."),
    ] = False,
    mode: ModeOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    sheet: PictureOption = None,
    json_file: JsonOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a scene is damaged or not read.")] = False,
) -> None:
    """Find a person in a gallery, or in photos: everybody there, ranked by similarity to the probe.

    --sheet draws the probe and the matches side by side, as the paper's Fig. 7.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery import parse_filter
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.ranking import rank_gallery
    from mgts_trt.gallery.sheet import ranking_sheet
    from mgts_trt.gallery.source_names import short_names
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
    chosen_mode = stored.space.mode if stored else mode
    scenes, unseen = ({}, []) if stored else _scenes(gallery)
    with PersonSearch(opened, mode=chosen_mode, backend=backend, precision=precision, threads=threads) as pipeline:
        probe = find_probe(pipeline, photo, place)
        if stored:
            ranking = rank_gallery(stored, probe, top=top, where=chosen, exact=exact, include_own=include_own)
            names = short_names([match.source for match in ranking.matches])
            name = without_login(gallery[0])
            compared = f"{people_of(ranking.people)} in the gallery {name}{f', where {where}' if where else ''}"
        else:
            ranking = _rank_scenes(pipeline, probe, scenes, top, include_own)
            names = [str(scenes[Path(match.source)]) for match in ranking.matches]
            others = len(scenes) - ranking.own
            compared = f"{people_of(ranking.people)} in {others - len(ranking.failures)} of {others} scenes compared"
        if json_file:
            _write_json(json_file, probe, ranking.matches)
        if sheet:
            write_picture(sheet, ranking_sheet(probe, ranking.matches))
        _print_ranking(probe, ranking.matches, names)
        for failure in ranking.failures:
            warn(f"skipped: {failure}")
        for damage in ranking.damaged:
            warn(f"searched as far as it could be decoded: {damage}")
        out.print(compared)
        notice_untrained(opened.manifest)
    if sheet:
        out.print(f"Drawn to {sheet}")
    if strict and (ranking.failures or ranking.damaged or unseen):
        raise typer.Exit(1)


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
    pipeline: "PersonSearch", probe: "Probe", scenes: dict[Path, Path], top: int, include_own: bool
) -> "Ranking":
    from mgts_trt.gallery.ranking import rank

    with progress() as bar:
        task = bar.add_task("searching", total=len(scenes))
        return rank(pipeline, probe, scenes, top=top, include_own=include_own, on_scene=lambda _: bar.advance(task))


def _print_ranking(probe: "Probe", matches: Sequence["Match"], names: Sequence[str]) -> None:
    """Ranks in a table; camera and time have columns where any match has them."""
    from mgts_trt.gallery.probe import box_text

    cameras, times = (any(match.camera for match in matches), any(match.time for match in matches))
    headings = [
        ">rank",
        ">similarity",
        ">score",
        *["camera"] * cameras,
        *[">time"] * times,
        "scene",
        ">box x1,y1,x2,y2",
    ]
    shown = table(*headings, title=f"{probe.source.name}@{box_text(probe.box)}")
    for place, (match, name) in enumerate(zip(matches, names, strict=True), 1):
        seen = [match.camera or ""] * cameras + [match.time] * times
        row = [str(place), f"{match.likeness:.3f}", f"{match.score:.2f}", *seen, name, box_text(match.box)]
        shown.add_row(*row)
    out.print(shown)


def _write_json(file: Path, probe: "Probe", matches: Sequence["Match"]) -> None:
    about = {"query": str(probe.source), "box": [round(float(value), 2) for value in probe.box]}
    ranked = [{"rank": place, **match.to_dict()} for place, match in enumerate(matches, 1)]
    write_json(file, json.dumps({**about, "matches": ranked}, indent=1))
