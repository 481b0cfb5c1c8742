"""Which scenes train and which are held out, written down; and datasets made of others."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from training.data.annotated import AnnotatedScenes
from training.data.datasets.boxes_json import boxes_json
from training.data.datasets.coco_masks import CocoMasks
from training.data.datasets.market1501 import Market1501
from training.data.datasets.penn_fudan import PennFudan
from training.data.files import DataError
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.sources import files_of

PENN_FUDAN_EVERY = 5
"""Of Penn-Fudan, every fifth picture is held out: numbers 0, 5, 10 … by sorted name."""
REAL_EVERY = 6
"""Of each set of real scenes, every sixth picture is held out: numbers 0, 6, 12 … by sorted name."""
COCO_MASKS = "coco_mini"
REAL_SETS = ("coco_person", COCO_MASKS, "inria_person", "tud_motionpairs", "mot15_static", "negatives")
"""Folders of the sets of real scenes."""
FILMS = {"mot15_static": 2}
"""Of sets that are frames of cameras that stand still: so many frames on each side of a held-out one are not trained
on. Nearer ones show the same people in the same place."""
COPIES = {"negatives": ("images/00000222a.jpg",), "tud_motionpairs": ("images/001092.jpg",)}
"""Pictures that show what a held-out one shows, as `python -m training leaks` found: another of the negatives, and the
street of TUD Campus. They are not trained on."""
MARKET_HELD_OUT = 150
"""Of Market-1501, the last 150 identities by name are held out."""


def penn_fudan_split(folder: str | Path) -> tuple[Scenes, Scenes]:
    """Penn-Fudan's (train, held-out) pictures.

    Raises:
        DataError: see `PennFudan`.
    """
    scenes = PennFudan(folder)
    held_out = [index for index in range(len(scenes)) if index % PENN_FUDAN_EVERY == 0]
    train = [index for index in range(len(scenes)) if index % PENN_FUDAN_EVERY]
    return Subset(scenes, train), Subset(scenes, held_out)


def real_set_split(folder: str | Path) -> tuple[Scenes, Scenes]:
    """The (train, held-out) pictures of one set of real scenes; `FILMS` and `COPIES` say what is in neither.

    Args:
        folder: One of `REAL_SETS`, or another folder with a `boxes.json`.

    Raises:
        DataError: see `boxes_json` and `CocoMasks`.
    """
    scenes = _real_set(Path(folder))
    train = _trained(Path(folder).name, scenes.names)
    return Subset(scenes, train), Subset(scenes, range(0, len(scenes), REAL_EVERY))


def real_train(root: str | Path) -> Scenes:
    """What all sets of real scenes have to train on.

    Two sets hold photos of COCO, and some photos are in both: a picture that one set holds out, no set trains on.

    Args:
        root: The folder that holds `REAL_SETS`.

    Raises:
        DataError: see `boxes_json` and `CocoMasks`.
    """
    return Joined(*(Subset(scenes, rows) for scenes, rows in _real_parts(root)))


def further_train(root: str | Path, folders: Sequence[str | Path]) -> Scenes:
    """All pictures of further folders, as a teacher labels them, but those that a set of real scenes holds out.

    Args:
        root: The folder that holds `REAL_SETS`.
        folders: Each with a `boxes.json`.

    Raises:
        DataError: see `boxes_json` and `CocoMasks`.
    """
    return Joined(*(Subset(scenes, rows) for scenes, rows in _further_parts(root, folders)))


class Photos(NamedTuple):
    """What there is to train on, by what it shows."""

    people: Scenes
    """Of `real_train`, photos of people."""
    further: Scenes
    """Of `further_train`, photos of people."""
    nobody: Scenes
    """Of both, photos in which nobody is labelled."""


def training_photos(root: str | Path, folders: Sequence[str | Path] = ()) -> Photos:
    """All of `real_train` and `further_train`, apart.

    Raises:
        DataError: see `boxes_json` and `CocoMasks`.
    """
    real, further = _real_parts(root), _further_parts(root, folders)
    return Photos(_showing(real, people=True), _showing(further, people=True), _showing(real + further, people=False))


_Parts: TypeAlias = list[tuple[AnnotatedScenes | CocoMasks, list[int]]]
"""Datasets, each with the numbers of the scenes to take."""


def _real_parts(root: str | Path) -> _Parts:
    sets = _real_sets(root)
    held_out = _held_out_names(sets)
    return [
        (scenes, [row for row in _trained(folder, scenes.names) if Path(scenes.names[row]).name not in held_out])
        for folder, scenes in sets.items()
    ]


def _further_parts(root: str | Path, folders: Sequence[str | Path]) -> _Parts:
    held_out = _held_out_names(_real_sets(root))
    return [
        (scenes, [row for row, name in enumerate(scenes.names) if Path(name).name not in held_out])
        for scenes in map(boxes_json, folders)
    ]


def _showing(parts: _Parts, *, people: bool) -> Scenes:
    chosen = []
    for scenes, rows in parts:
        counts = scenes.counts
        chosen.append(Subset(scenes, [row for row in rows if (counts[row] > 0) == people]))
    return Joined(*chosen)


def _real_sets(root: str | Path) -> dict[str, AnnotatedScenes | CocoMasks]:
    return {name: _real_set(Path(root) / name) for name in REAL_SETS}


def _held_out_names(sets: dict[str, AnnotatedScenes | CocoMasks]) -> set[str]:
    return {Path(name).name for scenes in sets.values() for name in scenes.names[::REAL_EVERY]}


def _trained(folder: str, names: Sequence[str]) -> list[int]:
    """Numbers of the pictures of a set that are trained on, but for those that another set holds out."""
    away, left_out = FILMS.get(folder, 0), COPIES.get(folder, ())
    return [
        row for row, name in enumerate(names) if away < row % REAL_EVERY < REAL_EVERY - away and name not in left_out
    ]


def _real_set(folder: Path) -> AnnotatedScenes | CocoMasks:
    return CocoMasks(folder) if folder.name == COCO_MASKS else boxes_json(folder)


def market1501_split(folder: str | Path, held_out: int = MARKET_HELD_OUT) -> tuple[Scenes, Scenes]:
    """Market-1501's (train, held-out) crops: no identity is in both, and each part numbers its own 0 … L−1.

    Args:
        folder: See `Market1501`.
        held_out: How many identities, the last by name, are held out.

    Raises:
        DataError: see `Market1501`; or fewer identities than are to be held out.
    """
    scenes = Market1501(folder)
    first = scenes.identity_count - held_out
    if held_out < 1 or first < 1:
        raise DataError(
            f"{held_out} identities cannot be held out of the {scenes.identity_count} in {folder}: each part needs at "
            "least one. Hold out fewer."
        )
    everyone = range(scenes.identity_count)
    return (
        Subset(scenes, np.flatnonzero(scenes.identities < first).tolist(), everyone[:first]),
        Subset(scenes, np.flatnonzero(scenes.identities >= first).tolist(), everyone[first:]),
    )


class Subset:
    """Some scenes of a dataset, in a given order.

    Args:
        scenes: The dataset.
        indices: Numbers of its scenes.
        identities: The dataset's identities that keep a label, renumbered in this order; everyone else becomes
            `UNKNOWN`. None keeps all numbers as they are.

    Raises:
        DataError: a number that the dataset does not have.
    """

    def __init__(self, scenes: Scenes, indices: Sequence[int], identities: Sequence[int] | None = None):
        wrong = [index for index in indices if not 0 <= index < len(scenes)]
        if wrong:
            raise DataError(
                f"A subset asks for scene {wrong[0]}, but the dataset has {len(scenes)}: 0 … {len(scenes) - 1}."
            )
        self._scenes, self._indices = scenes, list(indices)
        kept = range(scenes.identity_count) if identities is None else identities
        self.identity_count = len(kept)
        # The last place stands for UNKNOWN, which is −1.
        self._numbers = np.full(scenes.identity_count + 1, UNKNOWN, np.int64)
        self._numbers[list(kept)] = np.arange(len(kept))

    def __len__(self) -> int:
        """How many scenes there are."""
        return len(self._indices)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The picture files that the scenes of these numbers may show."""
        return files_of(self._scenes, [self._indices[index] for index in indices])

    def __getitem__(self, index: int) -> Scene:
        """One scene of the dataset, its identities renumbered."""
        scene = self._scenes[self._indices[index]]
        return replace(scene, identities=self._numbers[scene.identities])


class Joined:
    """Several datasets one after the other.

    Args:
        parts: The datasets.
        same_people: Equal identities of different parts are one person, not two.
    """

    def __init__(self, *parts: Scenes, same_people: bool = False):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        counts = [part.identity_count for part in parts]
        self._shifts = [0 if same_people else int(shift) for shift in np.cumsum([0, *counts[:-1]])]
        self.identity_count = max(counts, default=0) if same_people else sum(counts)

    def __len__(self) -> int:
        """How many scenes there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The picture files that the scenes of these numbers may show."""
        wanted = np.array(sorted(indices), np.int64)
        files: set[Path] = set()
        for part, end in zip(self._parts, self._ends.tolist(), strict=True):
            here = wanted[(wanted >= end - len(part)) & (wanted < end)] - (end - len(part))
            files |= files_of(part, here.tolist()) if len(here) else set()
        return files

    def __getitem__(self, index: int) -> Scene:
        """One scene; its identities are shifted past those of earlier datasets, unless people are the same."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        scene = part[index - int(self._ends[number]) + len(part)]
        shifted = np.where(scene.identities == UNKNOWN, UNKNOWN, scene.identities + self._shifts[number])
        return replace(scene, identities=shifted)
