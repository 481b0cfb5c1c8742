"""What the pipeline makes of a labelled set: run once a precision, compared with a reference, stored in a bundle.

The reference of a bundle, `labelled/reference.npz`, is such a run over the PyTorch networks. Rows of all pictures lie
one after the other, in the order of `labels.json`:

| key | what |
| --- | --- |
| `detector.counts` | int64 [pictures]: rows of each; those of the joint network where no other detector ran |
| `detector.boxes`, `detector.scores` | [R, 4], [R]: all rows that are not padding, pixels of the picture |
| `MODE.counts` | int64 [pictures]: people found in each |
| `MODE.boxes`, `MODE.scores`, `MODE.embeddings`, `MODE.instances` | as in `People` |
| `MODE.truths` | [P, d]: embeddings of the labelled boxes |
| `net.windows`, `net.bits` | int32 [N, 4], uint8: the masks, see `PackedMask` |
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Bools, Floats, Ints, Self
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import MODES, Mode
from mgts_trt.errors import BundleError
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.evaluation.mask_metrics import mask_iou
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.base import Session


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask over a picture as bits.

    Attributes:
        window: x1, y1, x2, y2: the smallest window that holds the mask, pixels; four zeros for an empty mask.
        bits: uint8 [⌈pixels / 8⌉], the window's pixels row by row, eight to a byte.
    """

    window: tuple[int, int, int, int]
    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, mask: Bools) -> Self:
        """Pack a mask, bool [H, W]."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls((0, 0, 0, 0), np.zeros(0, np.uint8))
        x1, y1, x2, y2 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        return cls((x1, y1, x2, y2), np.packbits(mask[y1:y2, x1:x2]))

    @property
    def pixels(self) -> int:
        """Of the window."""
        x1, y1, x2, y2 = self.window
        return (x2 - x1) * (y2 - y1)

    def unpack(self, height: int, width: int) -> Bools:
        """The mask over a picture of that size, bool [H, W]."""
        x1, y1, x2, y2 = self.window
        mask = np.zeros((height, width), np.bool_)
        mask[y1:y2, x1:x2] = np.unpackbits(self.bits, count=self.pixels).reshape(y2 - y1, x2 - x1)
        return mask

    def iou(self, other: "PackedMask") -> float:
        """Intersection over union, 0…1; two empty masks are equal: 1."""
        height, width = max(self.window[3], other.window[3]), max(self.window[2], other.window[2])
        a, b = self.unpack(height, width), other.unpack(height, width)
        return mask_iou(a, b, empty=1)


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What one mode gave for one labelled picture with P people in it.

    Attributes:
        boxes: float32 [N, 4], xyxy, pixels of the picture: the people found, best first.
        scores: float32 [N].
        embeddings: float32 [N, d].
        instances: int32 [N], see `People`.
        masks: One a person found in mode `net`, otherwise empty.
        truths: float32 [P, d], the embeddings of the labelled boxes.
    """

    boxes: Floats
    scores: Floats
    embeddings: Floats
    instances: Ints
    masks: tuple[PackedMask, ...]
    truths: Floats


@dataclass(frozen=True, eq=False)
class TaskRun:
    """What one set of networks gave for a labelled set.

    Attributes:
        rows: Of each picture, all the detector's boxes [R, 4], pixels of the picture, and scores [R], however faint.
        modes: Mode → one result a picture.
    """

    rows: tuple[tuple[Floats, Floats], ...]
    modes: dict[Mode, tuple[PictureResult, ...]]


def run_task(
    bundle: Bundle,
    sessions: Mapping[str, Session],
    labelled: LabelledSet,
    modes: Sequence[Mode],
    *,
    on_picture: Callable[[], None] = lambda: None,
) -> TaskRun:
    """Find and describe the people of a labelled set, and describe those labelled.

    Args:
        bundle: Sizes and thresholds; its files are not looked at.
        sessions: The models of the modes, on any backend; they stay open.
        labelled: The set.
        modes: At least one.
        on_picture: Called after each picture.

    Raises:
        BackendError: A session fails.
        ImageError: A picture cannot be read.
    """
    shared = {model: _Once(session) for model, session in sessions.items()}
    searches = {mode: PersonSearch(bundle, mode=mode, sessions=shared) for mode in modes}
    rows: list[tuple[Floats, Floats]] = []
    results: dict[Mode, list[PictureResult]] = {mode: [] for mode in modes}
    for picture in labelled.pictures:
        image = labelled.image(picture)
        for mode, search in searches.items():
            people = search(image)
            truths = search.embed(image, picture.box_array).embeddings
            packed = [PackedMask.of(people.mask(i)) for i in range(len(people))] if mode == "net" else []
            results[mode].append(
                PictureResult(people.boxes, people.scores, people.embeddings, people.instances, tuple(packed), truths)
            )
        finder = shared.get("detector") or shared["joint"]
        found = {name: array[0] for name, array in finder.outputs_of_last_run.items()}
        real = (found["scores"] > 0) & np.isfinite(found["boxes"]).all(axis=1)
        boxes = people.letterbox.to_image(people.letterbox.clip(found["boxes"][real]))
        rows.append((boxes, found["scores"][real]))
        on_picture()
    return TaskRun(tuple(rows), {mode: tuple(of_mode) for mode, of_mode in results.items()})


class _Once:
    """A session that does not compute again what it was asked last: the modes share the detector and the mask net."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.model, self.precision, self.backend = session.model, session.precision, session.backend
        self.inputs, self.outputs = session.inputs, session.outputs
        self._last: Mapping[str, Array] = {}
        self.outputs_of_last_run: dict[str, Array] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        same = inputs.keys() == self._last.keys() and all(
            np.array_equal(array, self._last[name]) for name, array in inputs.items()
        )
        if not same:
            self._last, self.outputs_of_last_run = dict(inputs), self._session.run(inputs)
        return self.outputs_of_last_run

    def close(self) -> None:
        """Whoever opened the session closes it."""


def save_run(path: Path, run: TaskRun) -> None:
    """Write a run as npz, with the keys above."""
    arrays: dict[str, Array] = {
        "detector.counts": np.array([len(scores) for _, scores in run.rows], np.int64),
        "detector.boxes": np.concatenate([boxes for boxes, _ in run.rows]),
        "detector.scores": np.concatenate([scores for _, scores in run.rows]),
    }
    for mode, results in run.modes.items():
        arrays[f"{mode}.counts"] = np.array([len(result.scores) for result in results], np.int64)
        for key in ("boxes", "scores", "embeddings", "instances", "truths"):
            arrays[f"{mode}.{key}"] = np.concatenate([getattr(result, key) for result in results])
    masks = [mask for result in run.modes.get("net", ()) for mask in result.masks]
    arrays["net.windows"] = np.array([mask.window for mask in masks], np.int32).reshape(-1, 4)
    arrays["net.bits"] = np.concatenate([np.zeros(0, np.uint8), *(mask.bits for mask in masks)])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_run(path: Path, labelled: LabelledSet) -> TaskRun:
    """Read a run that `save_run` wrote.

    Raises:
        BundleError: The file is not such a run, or of another set.
    """
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        rows = _split(arrays, "detector.counts", "detector.boxes", "detector.scores")
        modes = {mode: _results(arrays, mode, labelled) for mode in MODES if f"{mode}.counts" in arrays}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"The reference {path} is not complete: {error}. Export the bundle again.") from error
    if len(rows) != len(labelled.pictures):
        raise BundleError(
            f"The reference {path} is of {len(rows)} pictures, its set has {len(labelled.pictures)}. "
            "Export the bundle again."
        )
    return TaskRun(tuple((boxes, scores) for boxes, scores in rows), modes)


def _results(arrays: dict[str, Array], mode: Mode, labelled: LabelledSet) -> tuple[PictureResult, ...]:
    keys = [f"{mode}.{key}" for key in ("boxes", "scores", "embeddings", "instances")]
    found = _split(arrays, f"{mode}.counts", *keys)
    people = [len(picture.boxes) for picture in labelled.pictures]
    if sum(people) != len(arrays[f"{mode}.truths"]):
        raise ValueError(f"{len(arrays[f'{mode}.truths'])} people in {mode}.truths, {sum(people)} are labelled")
    truths = np.split(arrays[f"{mode}.truths"], np.cumsum(people)[:-1])
    masks = iter(_masks(arrays["net.windows"], arrays["net.bits"]) if mode == "net" else ())
    results = []
    for (boxes, scores, embeddings, instances), of_people in zip(found, truths, strict=True):
        packed = tuple(next(masks) for _ in scores) if mode == "net" else ()
        results.append(PictureResult(boxes, scores, embeddings, instances, packed, of_people))
    return tuple(results)


def _masks(windows: Array, bits: Array) -> list[PackedMask]:
    sizes = -(-(windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1]) // 8)
    if sizes.sum() != len(bits):
        raise ValueError(f"{len(bits)} bytes in net.bits, {sizes.sum()} expected")
    parts = np.split(bits, np.cumsum(sizes)[:-1]) if len(sizes) else []
    return [PackedMask((x1, y1, x2, y2), part) for (x1, y1, x2, y2), part in zip(windows.tolist(), parts, strict=True)]


def _split(arrays: dict[str, Array], counts: str, *keys: str) -> list[tuple[Array, ...]]:
    """The rows of each picture, of several arrays."""
    ends = np.cumsum(arrays[counts])
    if wrong := [key for key in keys if len(arrays[key]) != ends[-1]]:
        raise ValueError(f"{wrong[0]} has {len(arrays[wrong[0]])} rows, {counts} says {ends[-1]}")
    return list(zip(*(np.split(arrays[key], ends[:-1]) for key in keys), strict=True))
