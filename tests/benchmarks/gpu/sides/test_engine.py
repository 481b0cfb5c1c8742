import numpy as np
import pytest

from benchmarks.gpu.sides.engine import EngineRun
from mgts_trt.bundle.tensors import TensorSpec
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_engine import SimulatedEngine


@pytest.mark.parametrize("how", [EngineRun.launch, EngineRun.replay])
def test_an_engine_runs_once_a_call_and_has_finished_then(how) -> None:
    runs = []

    def add(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        runs.append(inputs["x"].copy())
        return {"y": inputs["x"] + 1}

    spec = TensorSpec(dtype="float32", shape=("N", 2))
    engine = SimulatedEngine(SimulatedDevice(), "add", add, {"x": spec}, {"y": spec})
    ready = EngineRun(engine, {"x": np.array([[1, 2], [3, 4]], np.float32)})
    how(ready)
    before = len(runs)
    how(ready)
    assert len(runs) == before + 1
    np.testing.assert_array_equal(runs[-1], [[1, 2], [3, 4]])
    back = np.empty((2, 2), np.float32)
    engine.device.copy(back, ready._tensors["y"], ready.stream)
    np.testing.assert_array_equal(back, [[2, 3], [4, 5]])
