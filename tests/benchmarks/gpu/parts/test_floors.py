"""Floors of a network with operators, in precisions a bundle holds and in those it does not."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from benchmarks.gpu import tables
from benchmarks.gpu.parts import floors
from benchmarks.gpu.published import AIMS, PUBLISHED, aim
from tests.helpers.cut_runs import network

PEOPLE = 4
DETECTOR = """(float[1, 8, 16, 16] image) => (float[1, 6] keep) {
    maps = Conv (image, weights)
    flat = Reshape (maps, shape)
    boxes = Slice (flat, start, end, axis)
    keep = mgts.Nms <threshold = 0.5> (boxes)
}"""


@pytest.fixture
def job(tmp_path) -> SimpleNamespace:
    """A bundle of the preset `paper`, as far as the part looks at it: a detector in fp32."""
    arrays = {"shape": [1, -1, 4], "start": [0], "end": [6], "axis": [1]}
    weights = {name: np.array(value, np.int64) for name, value in arrays.items()}
    weights["weights"] = np.zeros((4, 8, 1, 1), np.float32)
    onnx.save(network(DETECTOR, weights), tmp_path / "detector.fp32.onnx")
    models = {"detector": SimpleNamespace(files={"fp32": None})}
    bundle = SimpleNamespace(
        manifest=SimpleNamespace(models=models, preset="paper"),
        model_path=lambda model, precision: tmp_path / f"{model}.{precision}.onnx",
    )
    return SimpleNamespace(
        bundle=bundle, models=("detector", "idnet"), modes=("none",), precisions=("fp32",), people=PEOPLE,
        say=lambda text: None, report=SimpleNamespace(floors=None),
    )  # fmt: skip


def test_a_precision_the_bundle_lacks_is_supposed(job) -> None:
    found = {each.precision: each for each in floors.make(job).networks}
    assert {name: each.supposed for name, each in found.items()} == {"fp32": False, "fp16": True, "int8": True}
    macs, weights = 4 * 8 * 256, 32
    others = 8 * 256 * 4 + 6 * 4 + (3 + 1 + 1 + 1) * 8  # image, keep; the integers are counted as weights of the file
    assert found["fp32"].gmac == pytest.approx((macs + 6 * 5 // 2 * 12 // 2) / 1e9)
    assert found["fp32"].model_mb == pytest.approx((others + 4 * weights) / 1e6)
    assert found["fp16"].model_mb < found["fp32"].model_mb
    for gpu in PUBLISHED:
        assert found["int8"].floor_ms[gpu] <= found["fp16"].floor_ms[gpu] <= found["fp32"].floor_ms[gpu]


def test_operators_are_listed_with_a_floor_a_gpu(job) -> None:
    counted = floors.make(job)
    assert [(each.precision, each.supposed, each.operator) for each in counted.operators] == [
        ("fp32", False, "Nms"), ("fp16", True, "Nms")
    ]  # fmt: skip
    for each in counted.operators:
        assert each.floor_us.keys() == PUBLISHED.keys()
        assert (each.read_kb, each.written_kb) == (0.096, 0.024)
        assert each.floor_us["Orin"] > each.floor_us["H100"]


def test_a_precision_that_is_held_and_not_wanted_is_left_out(job) -> None:
    job.bundle.manifest.models["detector"].files["fp16"] = None
    assert {each.precision for each in floors.make(job).networks} == {"fp32", "int8"}


def test_a_mode_is_the_sum_of_its_networks_and_none_where_one_is_missing(job) -> None:
    assert not floors.make(job).modes
    idnet = job.bundle.model_path("detector", "fp32").read_bytes()
    job.bundle.model_path("idnet", "fp32").write_bytes(idnet)
    job.bundle.manifest.models["idnet"] = job.bundle.manifest.models["detector"]
    counted = floors.make(job)
    for mode in counted.modes:
        for gpu, total in mode.floor_ms.items():
            parts = [each.floor_ms[gpu] for each in counted.networks if each.precision == mode.precision]
            assert total == pytest.approx(sum(parts))
            assert len(parts) == 2


def test_the_dry_run_and_the_report_tell_the_same(job) -> None:
    lines = floors.plan(job)
    floors.run(job)
    assert lines == tables.floors(job.report.floors).splitlines()
    assert any("| detector | fp16 * |" in line for line in lines)
    assert all(any(line.startswith(f"| {gpu} |") for line in lines) for gpu in PUBLISHED)


@pytest.mark.parametrize(
    ("preset", "mode", "precision", "device", "expected"),
    [
        ("paper", "net", "fp16", "NVIDIA H100 80GB HBM3", 2.4),
        ("paper", "box", "fp16", "NVIDIA H200", 1.9),
        ("paper", "net", "int8", "H100", 1.6),
        ("paper", "net", "fp32", "H100", None),
        ("edge", "net", "fp16", "H100", None),
        ("paper", "net", "fp16", "NVIDIA GeForce RTX 4090", None),
    ],
)
def test_aims(preset, mode, precision, device, expected) -> None:
    assert aim(preset, mode, precision, device) == expected
    assert len(AIMS) == 3
