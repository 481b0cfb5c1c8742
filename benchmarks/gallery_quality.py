"""How well a gallery answers: everybody labelled in real sequences is looked for in all other pictures of theirs.

The pictures are indexed as `mgts-trt index` does, each labelled box is a probe, and what is ranked is who the gallery
holds. Frames of a video that are next to the probe's show the same moment: `--gap` leaves them out.

    python -m benchmarks.gallery_quality --labelled docs/pictures/samples --tud TUD_CAMPUS --gap 12 --sheets sheets
"""

import datetime as dt
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.environment import commit
from mgts_trt._typing import Floats
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, parse_modes, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.evaluation.metrics import GalleryEntry, RankingResult, evaluate_search
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.probe import find_probe
from mgts_trt.gallery.ranking import rank_gallery
from mgts_trt.gallery.sheet import ranking_sheet
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.store import Gallery
from mgts_trt.pictures.image import read_image, write_image
from mgts_trt.runtime.modes import held_modes
from mgts_trt.runtime.pipeline import PersonSearch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Sighting:
    """A labelled person in a picture.

    Attributes:
        path: The picture.
        place: Of the picture in its sequence.
        identity: The person's.
        box: float32 [4], xyxy, pixels of the picture.
    """

    path: Path
    place: int
    identity: int
    box: Floats


@dataclass(frozen=True)
class Sequence:
    """Pictures of one place, and who is known in them.

    Attributes:
        name: What it is called in the report.
        pictures: In the order they were taken.
        sightings: The people whose identity is known.
    """

    name: str
    pictures: list[Path]
    sightings: list[Sighting]


def labelled_sequences(folder: Path) -> list[Sequence]:
    """A labelled set (`mgts_trt.evaluation.labelled`); each of its folders is a sequence.

    Raises:
        LabelError: It is none.
    """
    labelled = LabelledSet.open(folder)
    found: dict[str, Sequence] = {}
    for picture in labelled.pictures:
        path = labelled.root / picture.file
        sequence = found.setdefault(path.parent.name, Sequence(path.parent.name, [], []))
        people = zip(picture.identities, picture.box_array, strict=True)
        place = len(sequence.pictures)
        sequence.sightings.extend(Sighting(path, place, who, box) for who, box in people if who is not None)
        sequence.pictures.append(path)
    return list(found.values())


def tud_sequence(folder: Path) -> Sequence:
    """TUD Campus.

    Raises:
        DataError: See `training.data.datasets.tud_campus`.
    """
    from training.data.datasets.tud_campus import tud_campus

    scenes = tud_campus(folder)
    pictures = [folder / "images" / scenes[place].name for place in range(len(scenes))]
    sightings = [
        Sighting(path, place, int(who), box)
        for place, path in enumerate(pictures)
        for who, box in zip(scenes[place].identities, scenes[place].boxes, strict=True)
    ]
    return Sequence(folder.name, pictures, sightings)


def measure(search: PersonSearch, gallery: Gallery, sequence: Sequence, gap: int) -> tuple[RankingResult, int]:
    """Every sighting looked for in the pictures more than `gap` places from its own.

    Returns:
        The result, and how many sightings were probes: those of people whom such a picture shows.

    Raises:
        MgtsError: Nobody is shown twice that far apart.
    """
    places = {str(path.resolve()): place for place, path in enumerate(sequence.pictures)}
    detections = {name: (np.zeros((0, 4), np.float32), np.zeros((0, gallery.space.embedding))) for name in places}
    stored: dict[str, list[tuple[Floats, Floats]]] = {}
    for person, embedding in gallery.rows():
        stored.setdefault(person.source, []).append((person.box, embedding))
    for name, people in stored.items():
        detections[name] = (np.stack([box for box, _ in people]), np.stack([embedding for _, embedding in people]))
    shown: dict[int, dict[str, Floats]] = {}
    for sighting in sequence.sightings:
        shown.setdefault(sighting.identity, {})[str(sighting.path.resolve())] = sighting.box
    probes, galleries = list[Floats](), list[list[GalleryEntry]]()
    for sighting in sequence.sightings:
        far = [name for name, place in places.items() if abs(place - sighting.place) > gap]
        boxes = shown[sighting.identity]
        if any(name in boxes for name in far):
            probes.append(search.embed(read_image(sighting.path), sighting.box[None]).embeddings[0])
            galleries.append([(name, boxes.get(name)) for name in far])
    if not probes:
        raise MgtsError(
            f"In {sequence.name} nobody is shown twice more than {gap} pictures apart. Use a smaller --gap."
        )
    return evaluate_search(np.stack(probes), galleries, detections), len(probes)


def draw_sheets(search: PersonSearch, gallery: Gallery, sequence: Sequence, folder: Path) -> Iterable[Path]:
    """A ranking sheet of each person's first sighting, its own picture left out."""
    for identity in sorted({sighting.identity for sighting in sequence.sightings}):
        first = next(sighting for sighting in sequence.sightings if sighting.identity == identity)
        probe = find_probe(search, first.path, tuple(first.box.tolist()))
        path = folder / f"{sequence.name}_{identity}.png"
        write_image(path, ranking_sheet(probe, rank_gallery(gallery, probe, top=11, exact=True).matches))
        yield path


@app.command()
def main(
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="The bundle's folder.")] = None,
    labelled: Annotated[list[Path] | None, typer.Option(help="A labelled set; may be given more than once.")] = None,
    tud: Annotated[Path | None, typer.Option(help="TUD Campus' folder.")] = None,
    mode: Annotated[str, typer.Option(help="all, or some of none, net, box, joint with commas between them.")] = "all",
    gap: Annotated[int, typer.Option(min=0, help="Leave out so many pictures before and after a probe's.")] = 0,
    sheets: Annotated[Path | None, typer.Option(help="Draw ranking sheets into this folder, of the last mode.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure rank-1 and mAP of everybody labelled, through a gallery that lasts."""
    opened = Bundle.open(find_bundle(bundle))
    sequences = [sequence for folder in labelled or [] for sequence in labelled_sequences(folder)]
    sequences += [tud_sequence(tud)] if tud else []
    if not sequences:
        raise MgtsError("No pictures to measure on. Name a labelled set with --labelled, or TUD Campus with --tud.")
    modes = parse_modes(mode, held_modes(opened.manifest))
    rows = table("sequence", "mode", ">pictures", ">people", ">probes", ">rank-1", ">mAP", ">in the gallery")
    results: list[dict[str, Any]] = []
    for sequence in sequences:
        for each in modes:
            drawn = sheets if each == modes[-1] else None
            result = _measure(opened, sequence, each, gap, drawn)
            results.append(result)
            rows.add_row(
                *(str(result[key]) for key in ("sequence", "mode", "pictures", "people", "probes")),
                f"{result['rank_1']:.3f}",
                f"{result['map']:.3f}",
                str(result["gallery"]),
            )
        rows.add_section()
    out.print(rows)
    notice_untrained(opened.manifest)
    if sheets:
        out.print(f"Sheets drawn to {sheets}/")
    if json_file:
        about = {"date": dt.date.today().isoformat(), "commit": commit(), "preset": opened.manifest.preset, "gap": gap}
        write_json(json_file, json.dumps({**about, "results": results}, indent=1))


def _measure(bundle: Bundle, sequence: Sequence, mode: Mode, gap: int, sheets: Path | None) -> dict[str, Any]:
    space = Space.of(bundle, mode)
    with (
        tempfile.TemporaryDirectory() as folder,
        PersonSearch(bundle, mode=mode) as search,
        Gallery.create(folder, space) as gallery,
    ):
        with progress() as bar:
            task = bar.add_task(f"{sequence.name}, {mode}", total=len(sequence.pictures))

            def on_progress(report: IndexReport) -> None:
                bar.update(task, completed=report.frames)

            index(search, find_sources([str(path) for path in sequence.pictures]), gallery, on_progress=on_progress)
        ranking, probes = measure(search, gallery, sequence, gap)
        if sheets:
            sheets.mkdir(parents=True, exist_ok=True)
            for path in draw_sheets(search, gallery, sequence, sheets):
                out.print(f"{path}")
        return {
            "sequence": sequence.name,
            "mode": mode,
            "pictures": len(sequence.pictures),
            "people": len({sighting.identity for sighting in sequence.sightings}),
            "probes": probes,
            "rank_1": round(ranking.cmc(1), 4),
            "map": round(ranking.mean_average_precision, 4),
            "gallery": gallery.summary().people,
        }


if __name__ == "__main__":
    run_app(app)
