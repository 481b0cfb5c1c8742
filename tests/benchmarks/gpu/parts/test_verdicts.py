"""Soak, parity and trials of plans: what the numbers are taken to mean."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.gpu.parts import soak
from benchmarks.gpu.parts.parity import Agreement
from benchmarks.gpu.parts.plans import Candidate, read_answer
from benchmarks.gpu.report import MemorySample
from tests.helpers.gpu_reports import make_report


def memory(*device: float | None) -> list[MemorySample]:
    """One sample every ten pictures."""
    return [MemorySample(images=10 * i, device_mib=mib, host_mib=1) for i, mib in enumerate(device)]


@pytest.mark.parametrize(
    ("device", "growth", "flat"),
    [
        ([500, 900, 900, 900], 0, True),  # the first tenth is warm-up
        ([500, 900, 904, 908], 8, True),
        ([500, 900, 1000, 1100], 200, False),
        ([500, 900, 700, 600], -300, True),
        ([None, None, None, None], None, None),
    ],
)
def test_memory_is_flat_or_not(device, growth, flat) -> None:
    result = soak.judge([1.0] * 30, memory(*device), mode="net", precision="fp16", seconds=1)
    assert (result.growth_mib, result.flat) == (growth, flat)


def test_drift_compares_the_ends_and_leaves_out_the_warm_up() -> None:
    gaps = [50.0] * 10 + [10.0] * 80 + [12.0] * 10
    result = soak.judge(gaps, memory(1), mode="net", precision="fp16", seconds=1)
    assert result.drift == pytest.approx(1.2)
    assert result.images == 100


class People(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.boxes)


def some(boxes, embeddings) -> People:
    return People(
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4), embeddings=np.asarray(embeddings, np.float32).reshape(-1, 2)
    )


BOX, FAR = [0, 0, 100, 200], [300, 0, 400, 200]


@pytest.mark.parametrize(
    ("found", "boxes", "cosines", "passed"),
    [
        (some([BOX, FAR], [[1, 0], [0, 1]]), 1.0, 1.0, True),
        (some([FAR, BOX], [[0, 1], [1, 0]]), 1.0, 1.0, True),  # in another order
        (some([BOX], [[1, 0]]), 0.5, 1.0, False),
        (some([BOX, FAR], [[1, 0], [1, 0]]), 1.0, 0.5, False),
        (some([[0, 0, 100, 190], FAR], [[1, 0], [0, 1]]), 0.5, 1.0, False),  # IoU 0.95
        (some([], []), 0.0, 0.0, False),
    ],
)
def test_agreement(found: People, boxes: float, cosines: float, passed: bool) -> None:
    agreement = Agreement()
    agreement.add(some([BOX, FAR], [[1, 0], [0, 1]]), found)
    result = agreement.result("box", "fp16")
    assert (result.boxes_share, result.cosine_share, result.passed) == (boxes, cosines, passed)
    assert result.people == 2


def test_nobody_to_compare_is_no_success() -> None:
    agreement = Agreement()
    agreement.add(some([], []), some([BOX], [[1, 0]]))
    assert agreement.result("box", "fp32").passed is None


def test_int8_is_shown_only() -> None:
    agreement = Agreement()
    agreement.add(some([BOX], [[1, 0]]), some([FAR], [[1, 0]]))
    assert agreement.result("box", "int8").passed is None


CANDIDATE = Candidate("mgts", "fp16", "portable", "kernel")


def test_a_trials_answer_is_its_last_line() -> None:
    trial = make_report().plans[0]
    output = f"chatter\n{trial.model_dump_json()}\n"
    assert read_answer(0, output, "", "TensorRT-RTX 1.7", CANDIDATE) == trial


@pytest.mark.parametrize(
    ("code", "message"), [(-11, "its process was ended by signal 11"), (1, "its process ended with exit code 1")]
)
def test_a_trial_that_brings_its_process_down_is_an_answer(code: int, message: str) -> None:
    trial = read_answer(code, "{half", "CUDA error 999\n", "TensorRT-RTX 1.7", CANDIDATE)
    assert (trial.reached, trial.message, trial.log) == ("nothing", message, ["CUDA error 999"])
    assert (trial.model, trial.lowering) == ("mgts", "kernel")
