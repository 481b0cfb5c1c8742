"""Goldens: real pictures in the bundle and what PyTorch gave for them, so that parity needs no PyTorch later.

A golden picture fills the canvas without resizing, and is stored as PNG: what a network sees is then the same bits on
every machine. The outputs are one npz file a picture:

| key | what |
| --- | --- |
| `detector.boxes`, `detector.scores` | all rows that are not padding, canvas pixels |
| `masknet.boxes`, `masknet.scores`, `masknet.masks` | likewise |
| `persons.boxes` | [P, 4], canvas pixels: the boxes the embeddings are of |
| `mgts.net`, `mgts.box`, `idnet.none` | [P, d]: the embeddings by network and mode |
"""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Golden, Manifest
from mgts_trt.choices import Mode
from mgts_trt.errors import BundleError
from mgts_trt.machine.installation import in_checkout
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.modes import mode_instance_map, mode_patches
from mgts_trt.stages import Letterbox

EMBEDDINGS: dict[str, tuple[Mode, ...]] = {"mgts": ("net", "box"), "idnet": ("none",)}
"""Re-ID network → the modes it has goldens for."""

KEYS = (
    "detector.boxes", "detector.scores", "masknet.boxes", "masknet.scores", "masknet.masks", "persons.boxes",
    *(f"{model}.{mode}" for model, modes in EMBEDDINGS.items() for mode in modes),
)  # fmt: skip


@dataclass(frozen=True)
class GoldenCase:
    """One golden picture, ready to be run.

    Attributes:
        name: Of the picture.
        canvas: uint8 [Hc, Wc, 3].
        letterbox: How the picture lies on it.
        outputs: PyTorch's, by the keys above.
    """

    name: str
    canvas: Image
    letterbox: Letterbox
    outputs: dict[str, Array]


def load_goldens(bundle: Bundle) -> list[GoldenCase]:
    """The goldens of a bundle.

    Raises:
        BundleError: The bundle has none, or one lacks an output.
    """
    if not bundle.manifest.golden:
        raise BundleError(
            f"The bundle {bundle.root} holds no goldens, so there is nothing to compare with. "
            f"Export it again with {in_checkout('`python -m export --golden PHOTO`')}."
        )
    return [_load(bundle, golden) for golden in bundle.manifest.golden]


def _load(bundle: Bundle, golden: Golden) -> GoldenCase:
    image = read_image(bundle.root / golden.picture.file)
    letterbox = Letterbox((image.shape[0], image.shape[1]), bundle.manifest.canvas)
    path = bundle.root / golden.outputs.file
    try:
        with np.load(path) as file:
            outputs = {key: file[key] for key in KEYS}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"The golden {path} is not complete: {error}. Export the bundle again.") from error
    return GoldenCase(golden.name, letterbox.apply(image, bundle.manifest.pad), letterbox, outputs)


def reid_inputs(manifest: Manifest, case: GoldenCase, mode: Mode, names: Iterable[str]) -> dict[str, Array]:
    """What a re-ID network was given for a golden's people, float32 [P, 3, h, w].

    Args:
        manifest: γ, and size and normalisation of the patches.
        case: The golden.
        mode: Whose masks.
        names: The network's inputs: `original` alone, or `foreground` too.
    """
    masks = (case.outputs[f"masknet.{name}"] for name in ("boxes", "scores", "masks"))
    instance_map = mode_instance_map(manifest, mode, *masks)
    boxes = case.outputs["persons.boxes"]
    patches = mode_patches(manifest, mode, case.canvas, boxes, instance_map, case.letterbox)
    inputs: dict[str, Array] = {"original": patches.original, "foreground": patches.foreground}
    return {name: inputs[name] for name in names}
