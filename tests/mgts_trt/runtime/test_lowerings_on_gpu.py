"""The trained bundle on a simulated GPU: every mode finds the same people, whatever computes the operators."""

import shutil
from itertools import pairwise

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.operators import DOMAIN
from mgts_trt.choices import SEPARATE_MODES
from mgts_trt.evaluation.golden import load_goldens
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.backends import select_runtime
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.paths import TRAINED
from tests.helpers.simulated_machine import TARGET, simulated_gpu

LOWERINGS = ("graph", "kernel")
TOGETHER = 3
"""Pictures that detector and mask net take at once, in plans of their own."""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The bundle with plans in each lowering."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "cache"))
        _, flavour = simulated_gpu(patch)
        bundle = Bundle.open(shutil.copytree(TRAINED, folder / "bundle"))
        for model in bundle.manifest.models:
            for lowering in LOWERINGS:
                write_plan(bundle, model, flavour, TARGET, lowering=lowering)
                if model in ("detector", "masknet"):
                    write_plan(bundle, model, flavour, TARGET, lowering=lowering, batch=TOGETHER)
    return bundle


@pytest.fixture
def machine(planned, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return simulated_gpu(monkeypatch)


def called(bundle, model):
    """The operators that a network calls, one for each call."""
    nodes = load_onnx(bundle.model_path(model, "fp32"), weights=False).graph.node
    return sorted(node.op_type for node in nodes if node.domain == DOMAIN)


def assert_alike(got, wanted):
    """The same people in the same order, but for the rounding of sums."""
    np.testing.assert_allclose(got.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(got.instances, wanted.instances)
    if wanted.instance_map is not None:
        # A probability at the threshold may fall on either side.
        assert (got.instance_map != wanted.instance_map).mean() < 1e-4
    assert ((got.embeddings * wanted.embeddings).sum(axis=1) > 0.9999).all()


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_a_picture_has_the_same_people_in_every_lowering(planned, machine, mode):
    first, *_, last = [golden.canvas for golden in load_goldens(planned)]
    pictures, found = [first, last], {}
    for ops in LOWERINGS:
        with PersonSearch(planned, mode=mode, backend="tensorrt", ops=ops) as search:
            for model, plan in search.runtime.engines.items():
                assert plan.record.identity.lowering == (ops if called(planned, model) else "graph")
            # Plainly, under a capture, and as a graph.
            found[ops] = [[search(picture, top=5) for picture in pictures] for _ in range(3)]
            assert search.runtime.graph_refusals == {}
        for one, other in pairwise(found[ops]):
            for got, wanted in zip(one, other, strict=True):
                np.testing.assert_array_equal(got.boxes, wanted.boxes)
                np.testing.assert_array_equal(got.embeddings, wanted.embeddings)
    with PersonSearch(planned, mode=mode, backend="onnxruntime") as reference:
        for picture, graph, kernel in zip(pictures, *(found[ops][0] for ops in LOWERINGS), strict=True):
            assert len(graph)
            assert_alike(kernel, graph)
            assert_alike(kernel, reference(picture, top=5))


@pytest.mark.parametrize("ops", LOWERINGS)
def test_pictures_together_have_the_people_each_has_alone(planned, machine, ops):
    first, *_, last = [golden.canvas for golden in load_goldens(planned)]
    with PersonSearch(planned, mode="net", backend="tensorrt", ops=ops) as search:
        assert {plan.record.identity.batch for plan in search.runtime.engines.values()} == {1}
        alone = [search(picture, top=5) for picture in (first, last)]
    with PersonSearch(planned, mode="net", backend="tensorrt", ops=ops, batch_size=None) as search:
        assert search.batch_size == TOGETHER, "what plans are built for"
        batches = {model: plan.record.identity.batch for model, plan in search.runtime.engines.items()}
        assert batches == {"detector": TOGETHER, "masknet": TOGETHER, "mgts": 1}
        # Plainly and under a capture. Two pictures run in a batch of two, which has shapes of its own.
        for pictures in ([first, last, first], [first, last, first], [last, first]):
            wanted = alone if pictures[0] is first else alone[::-1]
            for got, expected in zip(search.batch(pictures, top=5), [*wanted, wanted[0]], strict=False):
                assert len(got)
                assert_alike(got, expected)
        assert search.runtime.graph_refusals == {}


def test_a_chain_has_every_operator_that_its_network_calls(planned, machine):
    for mode in SEPARATE_MODES:
        with PersonSearch(planned, mode=mode, backend="tensorrt", ops="kernel") as search:
            for model, plan in search.runtime.engines.items():
                assert sorted(step.operator for step in plan.record.chain.operators) == called(planned, model)


@pytest.mark.parametrize("ops", LOWERINGS)
def test_every_lowering_is_at_parity(planned, machine, ops):
    models = tuple(planned.manifest.models)
    runtime = select_runtime(planned, models, precision="fp32", backend="tensorrt", threads=None, ops=ops)
    comparisons = compare_bundle(planned, runtime)
    runtime.close()
    assert {comparison.model for comparison in comparisons} == set(models)
    assert [str(comparison) for comparison in comparisons if not comparison.ok] == []
