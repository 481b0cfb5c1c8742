"""Execution contexts on the simulated device."""

import numpy as np
import pytest

from mgts_trt.bundle.tensors import TensorSpec
from tests.helpers.clocks import CaptureError, RaceError
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_engine import SimulatedEngine


def make_context(device, stream, workspace=None):
    spec = TensorSpec(dtype="float32", shape=("N", 2))
    engine = SimulatedEngine(device, "add", lambda each: {"y": each["x"] + 1}, {"x": spec}, {"y": spec})
    context = engine.create_context()
    workspace = workspace or device.allocate(engine.workspace_bytes, stream)
    context.set_workspace(workspace.pointer, workspace.size)
    tensors = {name: device.array((4, 2), np.float32, stream) for name in ("x", "y")}
    for name, array in tensors.items():
        context.bind(name, array.pointer)
    return context, workspace, tensors


def test_an_engine_runs_at_the_shape_set():
    device = SimulatedDevice()
    stream = device.stream()
    context, _workspace, tensors = make_context(device, stream)
    device.fill(tensors["x"], 0, stream)
    device.fill(tensors["y"], 0, stream)
    context.set_shape("x", (3, 2))
    assert context.shape("y") == (3, 2)
    context.enqueue(stream)
    back = device.pinned((4, 2), np.float32)
    device.copy(back, tensors["y"], stream)
    stream.synchronize()
    assert back.array[:, 0].tolist() == [1, 1, 1, 0]


def test_a_workspace_is_shared_on_one_stream_only():
    device = SimulatedDevice()
    first, second = device.stream(), device.stream()
    one, workspace, _keep = make_context(device, first)
    same, _, _keep_same = make_context(device, first, workspace)
    for context in (one, same):
        context.set_shape("x", (1, 2))
        context.enqueue(first)
    other, _, _keep_other = make_context(device, second, workspace)
    other.set_shape("x", (1, 2))
    with pytest.raises(RaceError, match="add on stream"):
        other.enqueue(second)


def test_an_engine_runs_once_before_it_is_captured():
    device = SimulatedDevice()
    stream = device.stream()
    context, _workspace, _tensors = make_context(device, stream)
    context.set_shape("x", (2, 2))
    with pytest.raises(CaptureError, match="never run"), device.capture(stream):
        context.enqueue(stream)
    context.enqueue(stream)
    with device.capture(stream) as capture:
        context.enqueue(stream)
    capture.graph.launch(stream)
    device.synchronize()
