"""Recording what PyTorch gives for real pictures, in the form `mgts_trt.golden` reads."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mgts_trt._typing import Array, Image
from mgts_trt.bundle import BundleFile, Golden, Manifest
from mgts_trt.golden import EMBEDDINGS
from mgts_trt.image import read_image, write_image
from mgts_trt.modes import mode_instance_map, mode_patches
from mgts_trt.stages import Letterbox
from training.models import FCIS, MGTS, FasterRCNN, IDNet
from training.preset import Preset

PERSONS = 8
"""Boxes of a golden picture that get embeddings: the detector's best, whatever their scores."""


@dataclass
class Recording:
    """A golden in the making."""

    name: str
    source: str
    picture: Image
    canvas: Image
    letterbox: Letterbox
    outputs: dict[str, Array] = field(default_factory=dict)


def start_recording(path: Path, preset: Preset) -> Recording:
    """Read a picture and put it on the canvas.

    Kept is the picture as it lies on the canvas: resized to fit, so that no machine resizes it again.

    Raises:
        ImageError: The picture cannot be read.
    """
    image = read_image(path)
    letterbox = Letterbox((image.shape[0], image.shape[1]), preset.canvas)
    height, width = letterbox.content_hw
    picture = np.ascontiguousarray(letterbox.apply(image, preset.pad)[:height, :width])
    fitted = Letterbox((height, width), preset.canvas)
    return Recording(path.stem, _source(path), picture, fitted.apply(picture, preset.pad), fitted)


@torch.no_grad()
def record(recording: Recording, name: str, network: FasterRCNN | FCIS | MGTS | IDNet, manifest: Manifest) -> None:
    """Add what one network gives. Detector and mask net must have been recorded before a re-ID network."""
    outputs = recording.outputs
    network.eval()
    if name in EMBEDDINGS:
        for mode in EMBEDDINGS[name]:
            masks = (outputs[f"masknet.{key}"] for key in ("boxes", "scores", "masks"))
            instance_map = mode_instance_map(manifest, mode, *masks)
            boxes = outputs["persons.boxes"]
            patches = mode_patches(manifest, mode, recording.canvas, boxes, instance_map, recording.letterbox)
            inputs = [patches.foreground, patches.original] if name == "mgts" else [patches.original]
            outputs[f"{name}.{mode}"] = network(*(torch.from_numpy(array) for array in inputs)).numpy()
        return
    found = network(torch.from_numpy(recording.canvas))
    outputs.update({f"{name}.{key}": tensor.numpy() for key, tensor in found._asdict().items()})
    if name == "detector":
        boxes = recording.letterbox.clip(outputs["detector.boxes"])
        outputs["persons.boxes"] = boxes[(boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)][:PERSONS]


def write_golden(recording: Recording, root: Path) -> Golden:
    """Write picture and outputs under `root/golden` and return the manifest's entry."""
    (root / "golden").mkdir(exist_ok=True)
    picture, outputs = f"golden/{recording.name}.png", f"golden/{recording.name}.npz"
    write_image(root / picture, recording.picture)
    np.savez_compressed(root / outputs, **recording.outputs)
    return Golden(
        name=recording.name,
        picture=BundleFile.of(root, picture),
        outputs=BundleFile.of(root, outputs),
        source=recording.source,
    )


def _source(path: Path) -> str:
    """The picture's terms: the first line of a NOTICE beside it, if there is one."""
    notice = path.parent / "NOTICE"
    if not notice.is_file():
        return path.name
    return f"{path.name}: {' '.join(notice.read_text(encoding='utf-8').strip().splitlines()[:2]).strip()}"
