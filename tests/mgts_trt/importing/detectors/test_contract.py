"""Each family, exported by PyTorch, finds what was planted: boxes and scores worked out by hand."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest

from mgts_trt.choices import Lowering
from mgts_trt.importing.detectors.contract import contract_model
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import DATA_DEPENDENT
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.recognise import recognise
from mgts_trt.importing.detectors.reference import reference
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from tests.helpers.parsed_engines import parsed_engines

pytest.importorskip("torch")
from tests.helpers import detector_modules as modules
from tests.helpers.detector_modules import CELLS, HW, Export

NEVER = -12.0  # a logit of nobody


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def rows(channels: int, planted: dict[int, list[float]]) -> np.ndarray:
    """[N, channels]: nobody but in these rows."""
    plant = np.full((CELLS, channels), NEVER)
    plant[:, :4] = 0.1
    for row, values in planted.items():
        plant[row] = values
    return plant


class Case(NamedTuple):
    """A module, the names of its outputs, and what is found on black: rows of box and score, best first."""

    module: str
    plant: np.ndarray
    outputs: list[str]
    family: str
    found: list[tuple[list[float], float]]
    person: int | None = None


# Row 96 + 2 · 6 + 3 = 111 is the cell in column 3, row 2 of stride 16; 112 the one beside it.
YOLOX = rows(
    8,
    {
        111: [0.25, 0.5, math.log(2), math.log(3), logit(0.9), NEVER, logit(0.8), NEVER],
        112: [-0.75, 0.5, math.log(2), math.log(3), logit(0.9), NEVER, logit(0.7), NEVER],  # the same box, worse
        5: [0.0, 1.0, math.log(1), math.log(2), logit(0.5), NEVER, logit(0.6), NEVER],
        50: [0.0, 1.0, math.log(1), math.log(2), logit(0.9), logit(0.9), NEVER, NEVER],  # somebody else's class
    },
)
# (3.25, 2.5) · 16 = (52, 40) is the middle, 32 × 48 the size; and (5, 1) · 8 = (40, 8), 8 × 16.
YOLOX_FOUND = [([36.0, 16.0, 68.0, 64.0], 0.72), ([36.0, 0.0, 44.0, 16.0], 0.3)]

YOLOV5 = rows(
    7,
    {
        # sigmoid 0.75 → 1 cell from the corner, 0.5 → half a cell; (0.5 · 2)² = 1 stride, (0.75 · 2)² = 2.25.
        111: [logit(0.75), logit(0.5), logit(0.5), logit(0.75), logit(0.9), logit(0.8), NEVER],
        5: [logit(0.5), logit(0.5), logit(0.5), logit(0.5), logit(0.5), logit(0.6), NEVER],
    },
)
YOLOV5_FOUND = [([56.0, 22.0, 72.0, 58.0], 0.72), ([40.0, 0.0, 48.0, 8.0], 0.3)]

YOLOV8 = rows(
    84,
    {
        111: [1, 2, 0.5, 1] + [logit(0.9)] + [NEVER] * 79,
        112: [2, 2, -0.5, 1] + [logit(0.8)] + [NEVER] * 79,  # the same box, worse
        5: [0.5, 0.5, 0.5, 0.5] + [logit(0.3)] + [NEVER] * 79,
    },
)
# Middle (3.5, 2.5): x 2.5 … 4, y 0.5 … 3.5, times 16; and (5.5, 0.5): x 5 … 6, y 0 … 1, times 8.
YOLOV8_FOUND = [([40.0, 8.0, 64.0, 56.0], 0.9), ([40.0, 0.0, 48.0, 8.0], 0.3)]

END = rows(
    84,
    {
        3: [10, 20, 30, 60] + [logit(0.9)] + [NEVER] * 79,
        9: [50, 5, 90, 60] + [NEVER] * 2 + [logit(0.8)] + [NEVER] * 77,  # another class
        7: [10, 20, 31, 61] + [logit(0.4)] + [NEVER] * 79,  # no NMS drops it
    },
)
END_FOUND = [([10.0, 20.0, 30.0, 60.0], 0.9), ([10.0, 20.0, 31.0, 61.0], 0.4)]

CENTRED = [logit(0.5), logit(0.5), logit(0.25), logit(0.5)]  # middle of 96 × 64, 24 × 32
RT_DETR = rows(84, {3: [*CENTRED, logit(0.9)] + [NEVER] * 79, 4: [*CENTRED, NEVER, logit(0.9)] + [NEVER] * 78})
RT_DETR_FOUND = [([36.0, 16.0, 60.0, 48.0], 0.9)]

DETR = rows(96, {})
DETR[:, 4:] = -30
DETR[:, -1] = 0  # no object
DETR[3, :4], DETR[3, 4 + 1] = CENTRED, math.log(4)  # 4 : 1
DETR_FOUND = [([36.0, 16.0, 60.0, 48.0], 0.8)]

SSD = rows(4 + 91, {})
SSD[:, :4] = [0.1, 0.1, 0.2, 0.3]
SSD[:, 4:] = -30
SSD[:, 4] = 0  # the background
SSD[10, :4], SSD[10, 4 + 1] = [0.25, 0.25, 0.5, 0.75], math.log(9)
SSD[11, :4], SSD[11, 4 + 1] = [0.25, 0.25, 0.5, 0.8125], math.log(4)  # IoU 0.89: dropped
SSD_FOUND = [([24.0, 16.0, 48.0, 48.0], 0.9)]

DETECTIONS = rows(
    4 + 80,
    {
        3: [0.25, 0.25, 0.5, 0.75, logit(0.9)] + [NEVER] * 79,
        4: [0.5, 0.25, 0.75, 0.75, NEVER, logit(0.8)] + [NEVER] * 78,
    },
)
DETECTIONS_FOUND = [([24.0, 16.0, 48.0, 48.0], 0.9)]

FASTEST = np.full((85, 4, 6), NEVER)
FASTEST[:, 2, 3] = [logit(0.9), 0, math.atanh(0.5), logit(0.25), logit(0.5)] + [0] + [-30.0] * 79
# Middle (3, 2.5) of 6 × 4 cells: (48, 40); a quarter by a half: 24 × 32. Class 1, objectness 0.9.
FASTEST_FOUND = [([36.0, 24.0, 60.0, 56.0], 0.9**0.6)]

CASES = [
    Case("YoloX", YOLOX, ["output"], "yolox", YOLOX_FOUND, person=1),
    Case("YoloV5", YOLOV5, ["output0"], "yolov5", YOLOV5_FOUND, person=0),
    Case("YoloV8", YOLOV8, ["output0"], "yolov8", YOLOV8_FOUND),
    Case("EndToEnd", END, ["output0"], "end-to-end", END_FOUND),
    Case("Detr", RT_DETR, ["logits", "pred_boxes"], "detr", RT_DETR_FOUND),
    Case("Detr", DETR, ["logits", "pred_boxes"], "detr", DETR_FOUND),
    Case("Ssd", SSD, ["boxes", "scores"], "ssd", SSD_FOUND),
    Case("Detections", DETECTIONS, ["labels", "boxes", "scores"], "detections", DETECTIONS_FOUND),
    Case("FastestDet", FASTEST, ["map"], "fastestdet", FASTEST_FOUND),
]

EXPORTS = [
    *(Export(False, opset) for opset in (11, 13, 20, 17, 12, 16, 11, 18, 15)),  # by case: oldest to newest
    *(Export(True, opset) for opset in (18, 23, 20)),
]


def build(case: Case, export: Export, dynamic: bool = False) -> onnx.ModelProto:
    modules.torch.manual_seed(0)
    return modules.exported(getattr(modules, case.module)(case.plant), export, case.outputs, dynamic)


def check(case: Case, original: onnx.ModelProto, batch: bool = True) -> None:
    options = DetectorOptions(candidates=64, places=8, mean=(0, 0, 0), person=case.person)
    found = recognise(original, options)
    assert found.family == case.family
    model = contract_model(original, options)
    onnx.checker.check_model(model, full_check=True)
    assert not {node.op_type for node in model.graph.node} & (DATA_DEPENDENT | {"Shape"})
    sizes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    first = "B" if batch else 1
    assert sizes == [[first, 8, 4], [first, 8]]
    black = np.zeros((1, *HW, 3), np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, black.shape, np.uint8)
    result = run(model, {"image": black})
    boxes, scores = result["boxes"][0], result["scores"][0]
    count = len(case.found)
    assert scores[:count] == pytest.approx([score for _, score in case.found], abs=1e-5)
    assert boxes[:count] == pytest.approx(np.array([box for box, _ in case.found]), abs=1e-3)
    assert (scores[count:] < 0.01).all()
    for picture in (black, noise):
        expected = reference(original, found, picture[0])
        result = run(model, {"image": picture})
        assert result["scores"][0] == pytest.approx(expected[1], abs=1e-5)
        sure = expected[1] > 0.01  # among the others are ties
        assert result["boxes"][0][sure] == pytest.approx(expected[0][sure], abs=1e-2)


@pytest.mark.parametrize(
    ("case", "export"),
    [*zip(CASES, EXPORTS, strict=False), (CASES[0], EXPORTS[-3]), (CASES[3], EXPORTS[-2]), (CASES[7], EXPORTS[-1])],
    ids=lambda value: value.family if isinstance(value, Case) else "-".join(map(str, value)),
)
def test_a_family_finds_what_was_planted(case: Case, export: Export) -> None:
    check(case, build(case, export))


def test_a_batch_that_was_open_stays_open() -> None:
    check(CASES[2], build(CASES[2], Export(False, 17), dynamic=True))


@pytest.fixture(scope="module")
def rtx() -> Flavour:
    flavour = find_flavour("tensorrt_rtx")
    if flavour is None or flavour.name != "tensorrt_rtx":
        pytest.skip("parsing for real needs TensorRT-RTX, which is not installed")
    return flavour


@pytest.mark.parametrize("lowering", ["graph", "kernel"])
@pytest.mark.parametrize("case", CASES, ids=[case.family for case in CASES])
def test_tensorrt_takes_it(case: Case, lowering: Lowering, rtx: Flavour, tmp_path: Path) -> None:
    options = DetectorOptions(candidates=64, places=8, person=case.person, placement="centre", canvas=(96, 128))
    path = tmp_path / "detector.onnx"
    onnx.save(contract_model(build(case, Export(False, 17)), options), path)
    for batch in (1, 2):
        assert parsed_engines(path, lowering, batch, rtx) == (1 if lowering == "graph" or case.family in NO_NMS else 2)


NO_NMS = ("end-to-end", "detr", "detections")
