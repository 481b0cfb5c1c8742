"""Goldens: real pictures in the bundle and what PyTorch gave for them, so that parity needs no PyTorch later.

Of an imported model it is what its original file gave, see `mgts_trt.importing`.

A golden picture fills the canvas without resizing, and is stored as PNG: what a network sees is then the same bits on
every machine. The outputs are one npz file a picture:

| key | what |
| --- | --- |
| `detector.boxes`, `detector.scores` | all rows that are not padding, canvas pixels |
| `masknet.boxes`, `masknet.scores`, `masknet.masks` | likewise |
| `persons.boxes` | [P, 4], canvas pixels: the boxes the embeddings are of |
| `mgts.net`, `mgts.box`, `idnet.none` | [P, d]: the embeddings by network and mode |
| `idnet.author` | [P, d], of an imported network alone: those of crops resized as its author does |
| `joint.boxes`, `joint.scores`, `joint.embeddings` | of the joint network, likewise |
| `joint.rois`, `joint.roi_embeddings` | [P, 4], [P, d]: given boxes, canvas pixels, where it takes some |

A bundle's goldens hold the keys of the models it holds.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import GOLDEN, golden_files
from mgts_trt.bundle.manifest import BundleFile, Golden, Manifest
from mgts_trt.choices import Mode
from mgts_trt.errors import BundleError
from mgts_trt.machine.installation import in_checkout
from mgts_trt.pictures.image import read_image, write_image
from mgts_trt.runtime.modes import mode_instance_map, mode_patches
from mgts_trt.stages import Letterbox

EMBEDDINGS: dict[str, tuple[Mode, ...]] = {"mgts": ("net", "box"), "idnet": ("none",)}
"""Re-ID network → the modes it has goldens for."""

AUTHOR = "author"
"""The last part of the key of an imported re-ID network's embeddings with its author's resizing."""

PERSONS = "persons.boxes"

_DETECTIONS = {
    "detector": ("boxes", "scores"),
    "masknet": ("boxes", "scores", "masks"),
    "joint": ("boxes", "scores", "embeddings"),
}
_GIVEN = ("rois", "roi_embeddings")


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
            outputs = {key: file[key] for key in _keys(bundle.manifest)}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"The golden {path} is not complete: {error}. Export the bundle again.") from error
    return GoldenCase(golden.name, letterbox.apply(image, bundle.manifest.pad), letterbox, outputs)


def _keys(manifest: Manifest) -> Iterator[str]:
    yield PERSONS
    for model, entry in manifest.models.items():
        yield from (f"{model}.{key}" for key in (*_DETECTIONS.get(model, ()), *EMBEDDINGS.get(model, ())))
        if "rois" in entry.inputs:
            yield from (f"{model}.{key}" for key in _GIVEN)
        if entry.imported is not None and model in EMBEDDINGS:
            yield f"{model}.{AUTHOR}"


def write_golden(root: Path, name: str, picture: Image, outputs: Mapping[str, Array], source: str) -> Golden:
    """Write a picture and what was given for it under `root/golden`.

    Args:
        root: The bundle's folder.
        name: Of the picture.
        picture: uint8 [h, w, 3], RGB, as it lies on the canvas.
        outputs: By the keys above.
        source: Where the picture is from and under which terms.

    Returns:
        The manifest's entry.
    """
    (root / GOLDEN).mkdir(exist_ok=True)
    picture_file, outputs_file = golden_files(name)
    write_image(root / picture_file, picture)
    with (root / outputs_file).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **outputs)
    files = BundleFile.of(root, picture_file), BundleFile.of(root, outputs_file)
    return Golden(name=name, picture=files[0], outputs=files[1], source=source)


def reid_inputs(manifest: Manifest, case: GoldenCase, mode: Mode, names: Iterable[str]) -> dict[str, Array]:
    """What a re-ID network was given for a golden's people, float32 [P, 3, h, w].

    Args:
        manifest: γ, and size and normalisation of the patches.
        case: The golden.
        mode: Whose masks.
        names: The network's inputs: `original` alone, or `foreground` too.
    """
    instance_map = None
    if mode == "net":
        masks = (case.outputs[f"masknet.{name}"] for name in ("boxes", "scores", "masks"))
        instance_map = mode_instance_map(manifest, mode, *masks)
    boxes = case.outputs[PERSONS]
    patches = mode_patches(manifest, mode, case.canvas, boxes, instance_map, case.letterbox)
    inputs: dict[str, Array] = {"original": patches.original, "foreground": patches.foreground}
    return {name: inputs[name] for name in names}
