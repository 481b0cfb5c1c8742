"""The lowerings of networks side by side, on the simulated device."""

import numpy as np
import pytest

from benchmarks.gpu import job as jobs
from benchmarks.gpu import tables
from benchmarks.gpu.job import NO_PLUGINS, Job
from benchmarks.gpu.parts import networks, parity, pipeline, plans
from benchmarks.gpu.parts.forms import Form, compare_lowerings, forms
from benchmarks.gpu.report import SideResult
from benchmarks.gpu.timing import QUICK, Samples
from mgts_trt.bundle.bundle import Bundle
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.gpu_reports import make_report
from tests.helpers.headed_mgts import put_headed_mgts
from tests.helpers.simulated_machine import TARGET, simulated_gpu
from tests.helpers.tiny_bundle import CANVAS, make_tiny_bundle

PEOPLE = 2


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A detector without operators, and MGTS with its head."""
    return put_headed_mgts(Bundle.open(make_tiny_bundle(tmp_path / "b", models=["detector", "mgts"])), "fp32")


@pytest.fixture
def make_job(monkeypatch, bundle):
    """A job on a machine with this flavour of TensorRT, and plans of these lowerings."""

    def _make(flavour_name="tensorrt_rtx", lowerings=("graph", "kernel")) -> Job:
        _, flavour = simulated_gpu(monkeypatch, flavour_name)
        monkeypatch.setattr(jobs, "require_flavour", lambda *_: flavour)
        for model in bundle.manifest.models:
            for lowering in lowerings:
                write_plan(bundle, model, flavour, TARGET, lowering=lowering)
        image = np.zeros((*CANVAS, 3), np.uint8)
        image[:32, 16:32] = 255
        image[32:, 64:80] = 240
        values = {name: [] for name in ("plans", "pipeline", "networks", "parity")}
        return Job(
            bundle=bundle, image=image, people=PEOPLE, backend="tensorrt", modes=("box",), precisions=("fp32",),
            baselines=(), preset=None, pictures=(), counts=QUICK, report=make_report(**values, left_out={}),
        )  # fmt: skip

    return _make


def test_where_plans_hold_no_plugins_it_says_so_and_measures_the_rest(make_job) -> None:
    job = make_job()
    assert set(job.lowerings) == {"kernel", "graph"}
    assert "hold no plugins" in job.report.left_out[NO_PLUGINS]
    assert plans.plan(job)[-1].startswith("operators as plugin: left out: Plans of")


def test_plugins_are_measured_where_there_is_a_library(make_job, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "require_plugins", lambda flavour: None)
    job = make_job("tensorrt")
    assert set(job.lowerings) == {"kernel", "graph", "plugin"}
    assert {str(form) for form in forms(job)} >= {"TensorRT, CUDA graphs, operators as plugin"}
    assert NO_PLUGINS not in job.report.left_out


def test_what_has_no_operators_has_one_lowering(make_job) -> None:
    assert forms(make_job(), operators=False) == [Form("graph", graphs=False), Form("graph", graphs=True)]


def test_networks_run_in_every_lowering(make_job) -> None:
    job = make_job()
    networks.run(job)
    detector, mgts = job.report.networks
    assert [(side.lowering, side.graphs) for side in detector.sides] == [("graph", False), ("graph", True)]
    assert {(side.lowering, side.graphs) for side in mgts.sides} == {
        (lowering, graphs) for lowering in ("graph", "kernel") for graphs in (False, True)
    }
    for side in (*detector.sides, *mgts.sides):
        assert side.error is None
        assert side.over_graph == 1.0 if side.lowering == "graph" else side.over_graph > 0
    text = tables.markdown(job.report)
    assert "## Lowerings side by side" in text
    assert "| mgts | fp32 | yes |" in text
    assert "| detector | fp32 | yes |" not in text  # nothing to compare


def test_pipelines_and_parity_run_in_every_lowering(make_job, monkeypatch) -> None:
    job = make_job()
    monkeypatch.setattr(pipeline, "DEPTHS", (1,))
    pipeline.run(job)
    (group,) = job.report.pipeline
    assert {(side.lowering, side.graphs, side.error) for side in group.sides} == {
        (lowering, graphs, None) for lowering in ("graph", "kernel") for graphs in (False, True)
    }
    monkeypatch.setattr(parity, "_read", lambda job: [job.image])
    parity.run(job)
    assert {(row.lowering, row.passed, row.people) for row in job.report.parity} == {
        ("graph", True, PEOPLE), ("kernel", True, PEOPLE)
    }  # fmt: skip


def test_a_lowering_without_a_plan_is_left_out_and_the_rest_goes_on(make_job) -> None:
    job = make_job(lowerings=("graph",))
    networks.run(job)
    assert {side.lowering for side in job.report.networks[1].sides} == {"graph"}
    assert "--ops kernel" in job.report.left_out["TensorRT, launches, operators as kernel, mgts in fp32"]


def test_forms_are_compared_with_the_same_form_as_graph() -> None:
    ours = {str(form): form for form in (Form("graph", True), Form("kernel", True), Form("kernel", False))}
    samples = {
        label: Samples(total=[2.0] * 4 if form.lowering == "graph" else [1.0] * 4) for label, form in ours.items()
    }
    results = [SideResult(label=label) for label in (*ours, "PyTorch")]
    compare_lowerings(results, samples, ours, 2)
    assert [result.over_graph for result in results] == [1.0, 2.0, None, None]
    assert [result.graphs for result in results] == [True, True, False, None]
