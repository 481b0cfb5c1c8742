"""Operators alone, on the simulated device: by their kernels, and as engines that ONNX Runtime plays."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts import operators
from benchmarks.gpu.sides.operator_engine import one_node
from benchmarks.gpu.timing import QUICK
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.operators import add_functions
from mgts_trt.errors import BackendError, MgtsError
from tests.helpers.gpu_reports import make_report
from tests.helpers.headed_mgts import put_headed_mgts
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_engine import SimulatedEngine
from tests.helpers.tiny_bundle import make_tiny_bundle

PEOPLE = 3


@pytest.fixture
def job(tmp_path) -> Job:
    bundle = put_headed_mgts(Bundle.open(make_tiny_bundle(tmp_path / "b", models=["mgts"])), "fp32")
    return Job(
        bundle=bundle, image=np.zeros((8, 8, 3), np.uint8), people=PEOPLE, backend="tensorrt", modes=("box",),
        precisions=("fp32",), baselines=(), preset=None, pictures=(), counts=QUICK,
        report=make_report(operators=[], left_out={}),
    )  # fmt: skip


@pytest.fixture
def device() -> SimulatedDevice:
    made = SimulatedDevice()
    register_kernels(made)
    return made


def opener(device: SimulatedDevice, closed: list[str]):
    """Makes engines that ONNX Runtime plays; there are no plugins."""

    def _open(case, lowering, folder: Path):
        assert not list(folder.iterdir())
        if lowering == "plugin":
            raise MgtsError("There is no\nlibrary of plugins.")
        model = one_node(case.step, case.tensors, case.constants)
        add_functions(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_outputs()]
        run = lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))  # noqa: E731
        inputs, outputs = ({name: case.tensors[name] for name in each} for each in (case.inputs, case.step.outputs))
        engine = SimulatedEngine(device, case.model, run, inputs, outputs)
        engine.close = lambda: closed.append(lowering)
        return engine

    return _open


def test_each_form_is_timed_and_one_that_fails_is_a_result(job, device) -> None:
    closed: list[str] = []
    (result,) = operators.measure(job, device, opener(device, closed), ["graph", "plugin"])
    assert (result.network, result.precision, result.operator) == ("mgts", "fp32", "SeHead")
    assert result.microseconds.keys() == {"kernel", "copy", "graph"}
    assert all(value > 0 for value in result.microseconds.values())
    assert result.errors == {"plugin": "There is no library of plugins."}
    assert closed == ["graph"]
    maps, weights = 2 * PEOPLE * 16 * 4 * 2, 8 * 32 + 32 * 8 + 128 * 32
    assert (result.read_kb, result.written_kb) == (4 * (maps + weights) / 1e3, 4 * PEOPLE * 128 / 1e3)
    copy = job.report.ceilings.copy_gbs
    assert result.floor_us == pytest.approx((result.read_kb + result.written_kb) / copy)


def test_without_ceilings_there_is_no_floor(job, device) -> None:
    job.report.ceilings = None
    (result,) = operators.measure(job, device, opener(device, []), [])
    assert result.floor_us is None
    assert result.ratio("kernel", "floor") is None
    assert result.ratio("kernel", "copy") > 0
    assert not result.errors


def test_without_a_gpu_nothing_is_measured(job) -> None:
    there_is_none = Job(**{**vars(job), "backend": "onnxruntime"})
    assert operators.plan(there_is_none) == ["nothing: operators alone run on a GPU only"]
    with pytest.raises(BackendError, match="on a GPU only"):
        operators.run(there_is_none)


def test_what_would_be_measured_is_told(job) -> None:
    (line,) = operators.plan(job)
    assert "operators as graph" in line
