"""A picture on the canvas, and what models gave for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.modes import mode_patches
from mgts_trt.stages import Letterbox

PERSONS = 8
"""Boxes of a golden picture that get embeddings: the detector's best, whatever their scores."""


class Sizes(Protocol):
    """What a preset and a manifest say of the canvas."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Height, width."""
        ...

    @property
    def pad(self) -> tuple[int, int, int]:
        """RGB beside the picture."""
        ...


@dataclass
class Recording:
    """A picture on the canvas; with outputs of all models, a golden in the making."""

    name: str
    source: str
    picture: Image
    canvas: Image
    letterbox: Letterbox
    outputs: dict[str, Array] = field(default_factory=dict)


def start_recording(path: Path, sizes: Sizes) -> Recording:
    """Read a picture and put it on the canvas.

    Kept is the picture as it lies on the canvas: resized to fit, so that no machine resizes it again.

    Raises:
        ImageError: The picture cannot be read.
    """
    image = read_image(path)
    letterbox = Letterbox((image.shape[0], image.shape[1]), sizes.canvas)
    height, width = letterbox.content_hw
    picture = np.ascontiguousarray(letterbox.apply(image, sizes.pad)[:height, :width])
    fitted = Letterbox((height, width), sizes.canvas)
    return Recording(path.stem, _source(path), picture, fitted.apply(picture, sizes.pad), fitted)


def record_people(recording: Recording, finder: str = "detector") -> None:
    """Choose whom re-ID describes, from the boxes of the detector, or of another model."""
    boxes = recording.letterbox.clip(recording.outputs[f"{finder}.boxes"])
    recording.outputs["persons.boxes"] = boxes[(boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)][:PERSONS]


def model_inputs(recording: Recording, manifest: Manifest, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """What a model is given for a picture whose people, for a re-ID network, have been recorded.

    Args:
        recording: For a re-ID network with `persons.boxes`, float32 [N, 4] (xyxy, canvas pixels).
        manifest: γ, and size and normalisation of the patches.
        specs: Of the model's inputs: of its own, since they may be fewer than its recipe's, and have all sizes.

    Returns:
        By name: `image` uint8 [1, Hc, Wc, 3], and for the joint network `rois`, the people recorded, [1, P, 4]; or
        `original`, and for MGTS `foreground`, float32 [N, 3, h, w], whose mask is the tight box.
    """
    if "image" in specs:
        inputs: dict[str, Array] = {"image": recording.canvas[None]}
        if "rois" in specs:
            inputs["rois"] = specs["rois"].zeros(1)
            people = recording.outputs.get("persons.boxes", np.zeros((0, 4), np.float32))[: inputs["rois"].shape[1]]
            inputs["rois"][0, : len(people)] = people
        return inputs
    boxes = recording.outputs["persons.boxes"]
    patches = mode_patches(manifest, "box", recording.canvas, boxes, None, recording.letterbox)
    made = {"foreground": patches.foreground, "original": patches.original}
    return {key: made[key] for key in specs}


def _source(path: Path) -> str:
    """The picture's terms: the first line of a NOTICE beside it, if there is one."""
    notice = path.parent / "NOTICE"
    if not notice.is_file():
        return path.name
    return f"{path.name}: {' '.join(notice.read_text(encoding='utf-8').strip().splitlines()[:2]).strip()}"
