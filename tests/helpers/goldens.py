"""Goldens for the tiny bundle, recorded from the bundle itself: a session that computes alike is at parity."""

from pathlib import Path

import numpy as np

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, Golden, read_manifest, write_manifest
from mgts_trt.evaluation.golden import EMBEDDINGS
from mgts_trt.pictures.image import write_image
from mgts_trt.runtime.modes import mode_instance_map, mode_patches
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.runtime.session.pictures import run_picture
from mgts_trt.stages import Letterbox
from tests.helpers.tiny_bundle import CANVAS, CELL


def add_golden(root: Path) -> None:
    """Give the tiny bundle in `root` one golden: a picture with two white cells."""
    bundle = Bundle.open(root)
    picture = np.full((*CANVAS, 3), 90, np.uint8)
    picture[: CELL[0], CELL[1] : 2 * CELL[1]] = 255
    picture[CELL[0] :, 4 * CELL[1] : 5 * CELL[1]] = 240
    letterbox = Letterbox(CANVAS, CANVAS)
    outputs: dict[str, np.ndarray] = {}
    for model in ("detector", "masknet"):
        found = run_picture(OnnxRuntimeSession(bundle, model, "fp32"), picture)
        rows = found["scores"] > 0
        outputs |= {f"{model}.{key}": array[rows] for key, array in found.items()}
    outputs["persons.boxes"] = outputs["detector.boxes"]
    masks = [outputs[f"masknet.{key}"] for key in ("boxes", "scores", "masks")]
    for model, modes in EMBEDDINGS.items():
        for mode in modes:
            instance_map = mode_instance_map(bundle.manifest, mode, *masks)
            patches = mode_patches(bundle.manifest, mode, picture, outputs["persons.boxes"], instance_map, letterbox)
            inputs = {"original": patches.original, "foreground": patches.foreground}
            session = OnnxRuntimeSession(bundle, model, "fp32")
            outputs[f"{model}.{mode}"] = session.run({name: inputs[name] for name in session.inputs})["embedding"]
    write_golden(root, picture, outputs)


def write_golden(root: Path, picture: np.ndarray, outputs: dict[str, np.ndarray]) -> None:
    """Put picture and outputs into the bundle as its only golden."""
    (root / "golden").mkdir(exist_ok=True)
    write_image(root / "golden/two.png", picture)
    np.savez(root / "golden/two.npz", **outputs)
    golden = Golden(
        name="two",
        picture=BundleFile.of(root, "golden/two.png"),
        outputs=BundleFile.of(root, "golden/two.npz"),
        source="made for tests",
    )
    write_manifest(root, read_manifest(root).model_copy(update={"golden": (golden,)}))
