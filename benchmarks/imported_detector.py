"""Box AP of another project's detector: its plain ONNX file with its author's NumPy code, and the bundle's model of it.

python -m benchmarks.imported_detector yolox.onnx --pictures coco_person --pictures inria_person

Pictures are folders with a `boxes.json`. Three ways are compared on each: the author's own letterbox, code and file;
the author's code and file on the bundle's canvas, without limits to candidates; and the model of `mgts-trt import`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import onnxruntime as ort
import typer

from benchmarks.environment import environment
from mgts_trt._typing import Array, Image
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.cli.console import out
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.importing.detectors.contract import write_contract
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.recognise import recognise_form
from mgts_trt.importing.detectors.recognised import Recognised
from mgts_trt.importing.detectors.reference import people, prepare
from mgts_trt.stages import Letterbox
from training.data.datasets.boxes_json import boxes_json
from training.evaluation.detector import DetectorResult, judge_detector

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Detect = Callable[[Image], tuple[Array, Array]]

_FAINTEST = 1e-3
"""Score below which authors drop boxes when they measure AP."""


@app.command()
def main(
    model: Annotated[Path, typer.Argument(help="ONNX file of a detector.")],
    pictures: Annotated[list[Path], typer.Option(help="Folder with a boxes.json; several times.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures of each.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Compare box APs."""
    original = load_onnx(model)
    found, form = recognise_form(original, DetectorOptions())
    session = _session(original.SerializeToString())
    contract = _session(write_contract(form, found).SerializeToString())
    ways: dict[str, Detect] = {
        "author": _author(session, found),
        "author's code on the canvas": _on_canvas(session, found),
        "contract model": _contract(contract, found),
    }
    report: dict[str, object] = {"environment": environment().model_dump(), "model": model.name, "family": found.family}
    for folder in pictures:
        scenes = boxes_json(folder)
        scenes.images = scenes.images[:limit]
        results = {name: judge_detector(detect, scenes, 0.5) for name, detect in ways.items()}
        report[folder.name] = {"pictures": len(scenes), **{name: _numbers(each) for name, each in results.items()}}
        for name, each in results.items():
            out.print(f"{folder.name:16} {name:28} {_numbers(each)}")
    if json_file:
        write_json(json_file, json.dumps(report, indent=2))


def _numbers(result: DetectorResult) -> dict[str, float]:
    return {name: round(value, 5) for name, value in result.summary().items()}


def _session(model: bytes) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, inputs: dict[str, Array]) -> dict[str, Array]:
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))


def _author(session: ort.InferenceSession, found: Recognised) -> Detect:
    """OpenCV's bilinear resize whatever the scale, as the demos of YOLOX and YOLOv5 do."""
    height, width = found.image.hw
    whole = replace(found, canvas=found.image.hw, placement="corner", candidates=found.boxes, places=found.boxes)

    def detect(image: Image) -> tuple[Array, Array]:
        scale = min(height / image.shape[0], width / image.shape[1])
        size = int(image.shape[1] * scale), int(image.shape[0] * scale)
        top, left = ((height - size[1]) // 2, (width - size[0]) // 2) if found.placement == "centre" else (0, 0)
        canvas = np.full((height, width, 3), found.pad, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        boxes, scores = people(whole, _run(session, {found.image.name: prepare(whole, canvas)[0]}))
        kept = scores > _FAINTEST
        return (boxes[kept] - np.array([left, top, left, top])) / scale, scores[kept]

    return detect


def _on_canvas(session: ort.InferenceSession, found: Recognised) -> Detect:
    whole = replace(found, candidates=found.boxes, places=found.boxes)

    def detect(image: Image) -> tuple[Array, Array]:
        letterbox = Letterbox((image.shape[0], image.shape[1]), found.canvas)
        given, (left, top) = prepare(whole, letterbox.apply(image, found.pad))
        boxes, scores = people(whole, _run(session, {found.image.name: given}))
        scale = np.tile(np.array(found.content_hw[::-1]) / np.array(found.canvas[::-1]), 2)
        kept = scores > _FAINTEST
        boxes = (boxes[kept] - np.array([left, top, left, top])) / scale
        return letterbox.to_image(letterbox.clip(boxes)), scores[kept]

    return detect


def _contract(session: ort.InferenceSession, found: Recognised) -> Detect:
    def detect(image: Image) -> tuple[Array, Array]:
        letterbox = Letterbox((image.shape[0], image.shape[1]), found.canvas)
        result = _run(session, {"image": letterbox.apply(image, found.pad)[None]})
        boxes, scores = result["boxes"][0], result["scores"][0]
        kept = scores > _FAINTEST
        return letterbox.to_image(letterbox.clip(boxes[kept])), scores[kept]

    return detect


if __name__ == "__main__":
    run_app(app)
