"""The pictures an imported bundle's goldens are made of."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.default import default_bundle
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.errors import BundleError, ImageError
from mgts_trt.evaluation.golden import PERSONS, load_goldens
from mgts_trt.pictures.image import read_image
from mgts_trt.precisions.recording import Recording, start_recording
from mgts_trt.stages import Letterbox

_SYNTHETIC = 2


def golden_recordings(paths: Sequence[Path], manifest: Manifest) -> list[Recording]:
    """Pictures on a new bundle's canvas, with nothing recorded yet.

    Args:
        paths: Of pictures; if there are none, the goldens of the bundle that is meant where none is named, and where
            there is no such bundle two made up of coloured noise.
        manifest: Says the canvas.

    Raises:
        ImageError: A picture cannot be read, or two have one name.
    """
    if paths:
        recordings = [start_recording(path, manifest) for path in paths]
        if len({each.name for each in recordings}) < len(recordings):
            raise ImageError("Two golden pictures bear the same name; rename one.")
        return recordings
    try:
        bundle = Bundle.open(default_bundle())
    except BundleError:
        bundle = None
    if bundle is not None and bundle.manifest.golden:
        found = []
        for golden in bundle.manifest.golden:
            recording = start_recording(bundle.root / golden.picture.file, manifest)
            recording.source = golden.source
            found.append(recording)
        return found
    return [_made_up(seed, manifest) for seed in range(_SYNTHETIC)]


def kept_recordings(bundle: Bundle) -> list[Recording]:
    """A bundle's goldens, with all that is recorded in them; a re-ID network is compared on the same people.

    Raises:
        BundleError: The bundle has no goldens, or one is not complete.
    """
    return [
        Recording(
            golden.name, golden.source, read_image(bundle.root / golden.picture.file), case.canvas, case.letterbox,
            dict(case.outputs),
        )
        for golden, case in zip(bundle.manifest.golden, load_goldens(bundle), strict=True)
    ]  # fmt: skip


def people_or_places(recording: Recording) -> None:
    """Give a golden without people boxes of its own, so that a re-ID network has something to be compared on."""
    if not len(recording.outputs[PERSONS]):
        recording.outputs[PERSONS] = _places(recording.letterbox)


def _places(letterbox: Letterbox) -> Floats:
    height, width = letterbox.content_hw
    rng = np.random.default_rng(0)
    high = rng.uniform(0.3, 0.9, 3) * height
    wide = np.minimum(high * rng.uniform(0.35, 0.5, 3), width)
    x, y = rng.uniform(0, 1, 3) * (width - wide), rng.uniform(0, 1, 3) * (height - high)
    return np.stack([x, y, x + wide, y + high], axis=1).astype(np.float32)


def _made_up(seed: int, manifest: Manifest) -> Recording:
    """Blots of all sizes, as large as the canvas."""
    height, width = manifest.canvas
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 255, (n, 2 * n, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (3, 9, 27)
    ]
    picture: Image = np.clip(np.mean(layers, axis=0) * 1.6 - 76, 0, 255).astype(np.uint8)
    letterbox = Letterbox((height, width), manifest.canvas)
    return Recording(f"made-up-{seed}", "made of coloured noise", picture, picture, letterbox)
