from pathlib import Path

import cv2
import pytest

from benchmarks.gpu import plots, tables
from benchmarks.gpu.report import Group, Latency, Report, SideResult
from tests.helpers.gpu_reports import WORDS, make_report


def test_json_gives_the_report_back() -> None:
    report = make_report()
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_tables_have_every_part_and_ratios() -> None:
    text = tables.markdown(make_report())
    for expected in (
        "| TensorRT, CUDA graphs | 5.00 | 5.80 | 5.98 | 2.00 | 190 | 260 |",
        "| mode net | fp16 | yes | 8.00 | 5.00 (1.60 ×) | – | – |",
        "| PyTorch eager, fp16 | 10.0 | 10.8 | 11.0 | 1.00 | – | – |",
        "| PyTorch compiled, fp16 | BackendCompilerFailed: no \\| triton |",
        f"    [error] {WORDS}",
        "| mgts | fp16 | TensorRT | 10.0 | 50.0 | 400 | 0.500 | memory | 1.00 | 2.00 | 4.00 | 2.00 |",
        "| letterbox | x | 4,000 | 4.00 | 3.00 | 75% |",
        "| 32.0 | 8.00 | 24.0 | 0.500 | 2.50 | 5.00 | 200 | – | 10.0 | 2.00 | 40.0 |",
        "- Nms of detector in fp16 as plugin: no | library",
        "| net | fp16 | 2 | 100 | 200.0 | 5.00 | 5.00 | 1.000 | 0.00 | yes |",
        "| net | fp16 | – | 3 | 20 | 100.0% | 0.9950 | 90.0% | 0.99000 | 95% | **failed** |",
        "- kernels: no NVRTC",
        "- PyTorch eager, fp16: a note",
        "**Failed:** net, fp16: 100.0% of boxes and 90.0% of embeddings agree with the CPU, 95% required",
        "untrained weights",
        "commit 0123456789ab+",
    ):
        assert expected in text


def test_every_row_of_a_table_has_as_many_cells_as_its_headings() -> None:
    blocks = [
        [line for line in block.splitlines() if line.startswith("|")]
        for block in tables.markdown(make_report()).split("\n\n")
    ]
    for rows in filter(None, blocks):
        cells = {row.replace("\\|", "").count("|") for row in rows}
        assert len(cells) == 1, rows


def test_a_part_that_was_not_run_has_no_section() -> None:
    empty = {
        name: [] for name in ("plans", "pipeline", "networks", "roofline", "kernels", "operators", "soak", "parity")
    }
    text = tables.markdown(make_report(**empty, ceilings=None, left_out={}))
    assert "##" not in text


@pytest.mark.parametrize(
    ("preset", "device", "quick", "expected"),
    [
        ("paper", "NVIDIA H100 80GB HBM3", False, "≤ 2.4 ms: **missed**; ≥ 3 × PyTorch eager: 2.00: **missed**"),
        ("paper", "NVIDIA H100 80GB HBM3", True, "≤ 2.4 ms; ≥ 3 × PyTorch eager: 2.00"),
        ("paper", "NVIDIA RTX A4000", False, "–"),
        ("edge", "NVIDIA H100 80GB HBM3", False, "–"),
    ],
)
def test_an_aim_is_judged_where_it_is_meant_and_measured_well(preset, device, quick, expected) -> None:
    text = tables.markdown(make_report(preset=preset, device=device, quick=quick))
    assert f"| mode net | fp16 | yes | 8.00 | 5.00 (1.60 ×) | – | {expected} |" in text


def test_aims_that_are_met() -> None:
    others = [
        SideResult(label=f"PyTorch {form}, fp16", latency=Latency.of([ms]))
        for form, ms in (("eager", 7.2), ("compiled", 9.0), ("compiled-graphs", 3.5))
    ]
    fast = [
        SideResult(label=name, latency=Latency.of([ms]), lowering=name, graphs=True, over_graph=1.0)
        for name, ms in (("graph", 3.0), ("kernel", 2.4))
    ]
    groups = [Group(what="net", precision="fp16", people=8, sides=[*others, *fast])]
    aims = "≤ 2.4 ms: met; ≥ 3 × PyTorch eager: 3.00: met; ≥ 1.5 × PyTorch compiled: 1.46: **missed**"
    assert f"| {aims} |" in tables.markdown(make_report(pipeline=groups, device="NVIDIA H200"))


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plots.plot(make_report(), tmp_path / "x.png")
    picture = cv2.imread(str(tmp_path / "x.png"))
    assert min(picture.shape[:2]) > 500
    assert picture.std() > 5
    assert not plots.plot(make_report(pipeline=[], roofline=[], soak=[]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
