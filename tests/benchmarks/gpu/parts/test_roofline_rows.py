from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu.parts.roofline_rows import Cost, Layer, count, rows
from benchmarks.gpu.report import Ceilings, Group, Latency, SideResult
from tests.helpers.small_graphs import node, save_graph
from tests.helpers.tiny_bundle import make_tiny_bundle

CEILINGS = Ceilings(tflops={"fp16": 2.0, "fp32": 1.0}, copy_gbs=1.0, how="")
"""In a millisecond: 1e9 MACs in fp16, half as many in fp32, 1e6 bytes."""


@pytest.mark.parametrize(
    ("layers", "model_bytes", "floor", "bound", "unfused"),
    [
        ([], 2_000_000, 2.0, "memory", 0.0),
        ([Layer("a", "Conv", 500_000, 10**9, "fp16")], 500_000, 1.0, "compute", 1.0),
        ([Layer("a", "Conv", 500_000, 10**9, "fp32")], 500_000, 2.0, "compute", 2.0),
        # Of a precision without a ceiling, the fastest.
        ([Layer("a", "Conv", 0, 10**9, "int8")], 0, 1.0, "compute", 1.0),
        # One layer waits for arithmetic, the other for memory: only fused do they share.
        ([Layer("a", "Conv", 0, 10**9, "fp16"), Layer("b", "Relu", 3_000_000)], 1_500_000, 1.5, "memory", 4.0),
    ],
)
def test_floors(layers: list[Layer], model_bytes: int, floor: float, bound: str, unfused: float) -> None:
    cost = Cost(layers, model_bytes)
    assert cost.floor(CEILINGS) == (pytest.approx(floor), bound)
    assert cost.unfused(CEILINGS) == pytest.approx(unfused)


def test_without_a_ceiling_of_arithmetic_the_bytes_are_left() -> None:
    ceilings = CEILINGS.model_copy(update={"tflops": {}})
    assert Cost([Layer("a", "Conv", 1, 10**12, "fp16")], 10**6).floor(ceilings) == (pytest.approx(1.0), "memory")


layer = st.builds(
    Layer,
    st.just("x"),
    st.just("Conv"),
    st.integers(0, 10**9),
    st.integers(0, 10**12),
    st.sampled_from(["fp16", "fp32", "int8"]),
)


@given(st.lists(layer, max_size=8), st.data())
def test_fusion_only_ever_saves(layers: list[Layer], data: st.DataObject) -> None:
    # What enters and leaves the model enters or leaves some layer.
    model_bytes = data.draw(st.integers(0, sum(each.bytes for each in layers)))
    cost = Cost(layers, model_bytes)
    assert cost.floor(CEILINGS)[0] <= cost.unfused(CEILINGS) * (1 + 1e-9)
    assert cost.flop == 2 * sum(each.macs for each in layers)


def test_count_of_a_convolution_and_what_follows(tmp_path: Path) -> None:
    path = save_graph(
        tmp_path / "x.onnx",
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("Reshape", "r shape", "flat"),
            node("Gather", "flat index", "picked", axis=1),
            node("Relu", "picked", "y"),
        ],
        {"x": ("N", 3, 8, 8)},
        {
            "w": np.ones((4, 3, 3, 3), np.float32),
            "shape": np.array([-1, 256], np.int64),
            "index": np.array([0, 5], np.int64),
        },
    )
    cost = count(path, {"N": 2})
    x, w, c, y = 2 * 3 * 64 * 4, 4 * 27 * 4, 2 * 4 * 64 * 4, 2 * 2 * 4
    found = {each.op: each.bytes for each in cost.layers if each.name != "/y"}
    assert found == {"Conv": x + w + c, "Relu": 2 * c, "Gather": y + 16 + y}
    assert [each.macs for each in cost.layers] == [2 * 4 * 64 * 27, 0, 0, 0]
    assert cost.model_bytes == x + w + 16 + 16 + y
    assert cost.unknown == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_count_of_a_bundle_says_what_runs_in_which_precision(tmp_path: Path, precision: str) -> None:
    root = make_tiny_bundle(tmp_path / "b", (precision,), ["mgts"])
    cost = count(root / f"mgts.{precision}.onnx", {"N": 8})
    assert {each.precision for each in cost.layers if each.macs} == {precision}
    # Two streams of one 3 × 3 convolution on 32 × 16 pixels, and the projection.
    assert cost.flop == 2 * 8 * (2 * 16 * 27 * 32 * 16 + 128 * 2 * 16 * 4 * 2)
    assert cost.unknown == 0


def test_rows_take_what_was_measured_on_the_file_itself() -> None:
    sides = [
        SideResult(label="TensorRT", latency=Latency.of([3.0])),
        SideResult(label="PyTorch eager, fp16", latency=Latency.of([9.0])),
        SideResult(label="ONNX Runtime, CUDA", error="no"),
    ]
    groups = [Group(what=name, precision="fp16", people=8, sides=sides) for name in ("mgts", "idnet")]
    found = rows(groups, {("mgts", "fp16"): Cost([], 1_500_000)}, CEILINGS)
    assert [(row.model, row.side, row.over_floor) for row in found] == [("mgts", "TensorRT", pytest.approx(2.0))]
