import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs PyTorch")

import onnx

from export.onnx_file import with_taps
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.half import MOVERS
from mgts_trt.precisions.ranges import largest, measure_ranges, write_ranges
from tests.helpers.half_graphs import CONSTANTS, make_model, make_node


def test_ranges_are_numpys(tiny, exported, run_onnx) -> None:
    """Over two pictures, of every tensor that is measured."""
    model = onnx.load(exported("detector"))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, high, (1, *tiny.canvas, 3), np.uint8) for high in (30, 256)]
    ranges = measure_ranges(model, [{"image": image} for image in images])
    tapped = with_taps(exported("detector"), tuple(row.tensor for row in ranges))
    runs = [run_onnx(tapped, image=image) for image in images]
    for row in ranges:
        values = np.stack([run[row.tensor] for run in runs])
        assert (row.min, row.max) == pytest.approx((values.min(), values.max()), rel=1e-5)
        assert row.largest == pytest.approx(np.abs(values).max(), rel=1e-5)
        small = (np.abs(values) < 2.0**-14) & (values != 0)
        assert row.subnormal == pytest.approx(small.mean(), abs=1e-4), row
        assert row.overflow == 0
    operators = {row.op for row in ranges}
    assert {"Conv", "Gemm", "AlignRois", "Relu"} <= operators
    assert not operators & MOVERS
    assert {node.name for node in model.graph.node} >= {row.node for row in ranges}


def test_shares_of_what_half_loses() -> None:
    model = make_model([make_node("Conv", "y", "x", "")], {"w": np.eye(4, dtype=np.float32)[:, :, None, None]}, ["y"])
    x = np.ones((1, 4, 4, 4), np.float32)
    x[0, 0] = 1e5
    x[0, 1] = -2e5
    x[0, 2, :2] = 1e-5
    x[0, 2, 2:] = 0
    (row,) = measure_ranges(model, [{"x": x}])
    assert (row.node, row.op, row.tensor) == ("node_y", "Conv", "y")
    assert (row.min, row.max, row.largest, row.subnormal, row.overflow) == pytest.approx((-2e5, 1e5, 2e5, 1 / 8, 1 / 2))
    assert largest([row]) == {"y": row.largest}


def test_what_cannot_be_measured() -> None:
    nodes = [make_node("Exp", "e", "x", ""), make_node("Conv", "y", "e", "")]
    model = make_model(nodes, CONSTANTS, ["y"])
    with pytest.raises(PrecisionError, match="--calibration"):
        measure_ranges(model, [])
    with pytest.raises(PrecisionError, match=r"layer node_e \(Exp\) gives values that are not finite"):
        measure_ranges(model, [{"x": np.full((1, 4, 4, 4), 1000, np.float32)}])


def test_the_file(tmp_path) -> None:
    model = make_model([make_node("Conv", "y", "x", "")], CONSTANTS, ["y"])
    ranges = measure_ranges(model, [{"x": np.ones((1, 4, 4, 4), np.float32)}])
    path = tmp_path / "ranges" / "m.json"
    write_ranges(path, ranges, ["one"])
    content = json.loads(path.read_text())
    assert content["pictures"] == ["one"]
    assert [row["node"] for row in content["ranges"]] == ["node_y"]
    assert content["ranges"][0]["max"] == pytest.approx(ranges[0].max, rel=1e-3)
