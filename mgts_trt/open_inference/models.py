"""The models that a bundle is to inference servers: names and tensors, and the people of a picture as such."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from mgts_trt._typing import Array, Bools
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.runtime.modes import mode_dimension
from mgts_trt.runtime.people import People

ModelName: TypeAlias = Literal["person_search", "embed"]

VERSION = "1"
"""Of each model: a bundle has one."""

DataType: TypeAlias = Literal["UINT8", "INT32", "FP32", "BYTES"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model.

    Attributes:
        name: Its name.
        datatype: As the protocol calls it.
        shape: −1 where a length differs from picture to picture.
        optional: Whether a request may do without it.
        says: What it holds.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    says: str
    optional: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """What a model takes and gives, a picture a request.

    Attributes:
        name: Its name.
        says: What it does.
        inputs: What it takes.
        outputs: What it gives.
    """

    name: ModelName
    says: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


_PICTURE = (
    TensorSpec("image", "UINT8", (-1, -1, 3), "pixels of the picture, RGB; or, instead, file", optional=True),
    TensorSpec("file", "BYTES", (1,), "a JPEG, PNG, WebP, BMP or TIFF file's bytes; or, instead, image", optional=True),
)
_BOXES = TensorSpec("boxes", "FP32", (-1, 4), "x1, y1, x2, y2 in pixels of the picture")
_MASKS = (
    TensorSpec("masks", "BYTES", (-1,), "a PNG a person, one channel, 255 where they are, 0 elsewhere"),
    TensorSpec("mask_boxes", "INT32", (-1, 4), "where in the picture the mask lies: x1, y1, x2, y2; x2 and y2 outside"),
)


def model_specs(embedding: int, *, has_masks: bool) -> dict[str, ModelSpec]:
    """The models of a bundle, by name.

    Args:
        embedding: Length of an embedding.
        has_masks: Whether the pipeline's mode looks at masks: `net` and `box` do.
    """
    outputs = (
        _BOXES,
        TensorSpec("scores", "FP32", (-1,), "of the detector, 0 to 1; 1 of boxes that were given"),
        TensorSpec("embeddings", "FP32", (-1, embedding), "of length 1: the dot product of two is their similarity"),
        *(_MASKS if has_masks else ()),
    )
    given = TensorSpec("boxes", "FP32", (-1, 4), "whom to describe: x1, y1, x2, y2 in pixels of the picture")
    found = ModelSpec("person_search", "Finds the people of a picture, best first", _PICTURE, outputs)
    described = ModelSpec("embed", "Describes the people in boxes of a picture", (*_PICTURE, given), outputs)
    return {found.name: found, described.name: described}


def bundle_specs(bundle: Bundle, mode: Mode) -> dict[str, ModelSpec]:
    """The models of a bundle in a mode, by name: see `model_specs`."""
    return model_specs(mode_dimension(bundle.manifest, mode), has_masks=mode in ("net", "box"))


def people_arrays(people: People, wanted: Mapping[str, object] | frozenset[str]) -> dict[str, Array]:
    """The people of a picture as a model's outputs.

    Args:
        people: Of one picture.
        wanted: Names of outputs.

    Returns:
        Arrays of N rows by name, see `model_specs`; of `BYTES` object arrays of bytes.

    Raises:
        ImageError: Masks are wanted of a mode that has none.
    """
    found: dict[str, Array] = {}
    if "boxes" in wanted:
        found["boxes"] = people.boxes
    if "scores" in wanted:
        found["scores"] = people.scores
    if "embeddings" in wanted:
        found["embeddings"] = people.embeddings
    if {"masks", "mask_boxes"} & set(wanted):
        cut = [_cut(people.mask(i)) for i in range(len(people))]
        if "masks" in wanted:
            found["masks"] = np.array([png for png, _ in cut], np.object_)
        if "mask_boxes" in wanted:
            found["mask_boxes"] = np.array([box for _, box in cut], np.int32).reshape(-1, 4)
    return found


def _cut(mask: Bools) -> tuple[bytes, tuple[int, int, int, int]]:
    """A mask as a PNG of the least rectangle that holds it, and where that lies; of an empty one, of one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y1, y2 = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
    x1, x2 = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
    done, png = cv2.imencode(".png", mask[y1:y2, x1:x2].astype(np.uint8) * 255)
    assert done
    return png.tobytes(), (x1, y1, x2, y2)
