"""A small labelled set for the tiny bundle, and a reference recorded from the bundle itself."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, Labelled, read_manifest, write_manifest
from mgts_trt.evaluation.labelled import LabelledPicture, LabelledSet, Labels
from mgts_trt.evaluation.task_run import TaskRun, run_task, save_run
from mgts_trt.pictures.image import write_image
from mgts_trt.runtime.modes import held_modes
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from tests.helpers.tiny_bundle import CANVAS, CELL

PEOPLE = {0: (0, 1), 1: (1, 4), 2: (0, 3)}
"""Picture → row and column of the cell of person 0; person 1, of another pattern, stands two columns on."""


def make_labelled_set(folder: Path) -> Path:
    """Three noisy pictures that show the same two people, yellow and cyan, in other cells; two have masks."""
    (folder / "masks").mkdir(parents=True)
    rng = np.random.default_rng(5)
    looks = [np.array([255, 255, 30]), np.array([30, 255, 255])]
    pictures = []
    for number, (row, column) in PEOPLE.items():
        image, mask, boxes = np.full((*CANVAS, 3), 90, np.uint8), np.zeros(CANVAS, np.uint8), []
        for person, look in enumerate(looks):
            y, x = row * CELL[0], (column + 2 * person) % 6 * CELL[1]
            image[y : y + CELL[0], x : x + CELL[1]] = np.clip(look + rng.normal(0, 30, (*CELL, 3)), 0, 255)
            mask[y : y + CELL[0], x : x + CELL[1]] = person + 1
            boxes.append((x, y, x + CELL[1], y + CELL[0]))
        write_image(folder / f"{number}.png", image)
        masks = f"masks/{number}.png" if number < 2 else None
        if masks:
            (folder / masks).write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        pictures.append(LabelledPicture(file=f"{number}.png", boxes=tuple(boxes), identities=(7, 9), masks=masks))
    Labels(format=1, source="made for tests", pictures=tuple(pictures)).write(folder)
    return folder


def run_tiny(root: Path, labelled: LabelledSet, precision: str = "fp32") -> TaskRun:
    bundle = Bundle.open(root)
    sessions = {model: OnnxRuntimeSession(bundle, model, precision) for model in bundle.manifest.models}
    return run_task(bundle, sessions, labelled, held_modes(bundle.manifest))


def add_labelled(root: Path, run: TaskRun | None = None) -> None:
    """Put the set into the tiny bundle, with a run of the bundle, or the one given, for its reference."""
    folder = root / "labelled"
    labelled = LabelledSet.open(folder if folder.is_dir() else make_labelled_set(folder))
    save_run(folder / "reference.npz", run or run_tiny(root, labelled))
    labels, *pictures = (BundleFile.of(root, f"labelled/{file}") for file in labelled.files)
    entry = Labelled(labels=labels, pictures=tuple(pictures), reference=BundleFile.of(root, "labelled/reference.npz"))
    write_manifest(root, read_manifest(root).model_copy(update={"labelled": entry}))


def alter(run: TaskRun, mode: str, **changes) -> TaskRun:
    """The run with fields of one mode's first picture changed."""
    first = run.modes[mode][0]
    changed = dataclasses.replace(first, **{key: f(getattr(first, key)) for key, f in changes.items()})
    return dataclasses.replace(run, modes={**run.modes, mode: (changed, *run.modes[mode][1:])})
