"""What the networks of a bundle are run on when they are measured alone."""

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.runtime.modes import mode_patches
from mgts_trt.stages import Letterbox


def network_inputs(bundle: Bundle, pixels: Image, people: int) -> dict[str, dict[str, Array]]:
    """The canvas, a batch of one, for what detects; as many patches as asked for, spread over it, for re-ID.

    Args:
        bundle: An opened bundle.
        pixels: uint8 [H, W, 3], RGB.
        people: Patches, 1…64.

    Returns:
        Model → input → array, of the models that the bundle has.
    """
    manifest = bundle.manifest
    letterbox = Letterbox((pixels.shape[0], pixels.shape[1]), manifest.canvas)
    canvas = letterbox.apply(pixels, manifest.pad)
    boxes = spread_boxes(letterbox, people)
    patches = mode_patches(manifest, "box", canvas, boxes, None, letterbox)
    inputs: dict[str, dict[str, Array]] = {
        "detector": {"image": canvas[None]},
        "masknet": {"image": canvas[None]},
        "mgts": {"foreground": patches.foreground, "original": patches.original},
        "idnet": {"original": patches.original},
    }
    if "joint" in manifest.models:
        spec = manifest.models["joint"].inputs["rois"]
        inputs["joint"] = {"image": canvas[None], "rois": np.resize(boxes, (1, *spec.shape[1:]))}
    return {name: arrays for name, arrays in inputs.items() if name in manifest.models}


def spread_boxes(letterbox: Letterbox, people: int) -> Floats:
    """Upright canvas boxes float32 [people, 4], spread over the picture from left to right."""
    height, width = letterbox.content_hw
    lefts = np.linspace(0, width * 0.8, people)
    rows = [lefts, lefts * 0 + height * 0.2, lefts + width * 0.15, lefts * 0 + height * 0.9]
    return np.stack(rows, axis=1).astype(np.float32)
