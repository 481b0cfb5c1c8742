"""An operator alone computes what it computes in its network, and becomes an engine."""

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.gpu.sides.operator_engine import build_operator, one_node
from mgts_trt.bundle import operators
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.cut import cut
from mgts_trt.plans.chain import OperatorStep
from tests.helpers.cut_runs import run_cut
from tests.helpers.headed_mgts import headed_mgts, put_headed_mgts
from tests.helpers.tiny_bundle import PATCH, make_tiny_bundle

PEOPLE = 3


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def head(request):
    """The head's step, and the network it is cut from."""
    network = cut(headed_mgts(request.param), "mgts.onnx")
    (step,) = (each for each in network.steps if isinstance(each, OperatorStep))
    return step, network


def test_alone_it_computes_what_it_does_in_the_network(head) -> None:
    step, network = head
    random = np.random.default_rng(0)
    patches = {
        name: random.uniform(0, 255, (PEOPLE, 3, *PATCH)).astype(np.float32) for name in ("foreground", "original")
    }
    tensors = run_cut(network, patches)
    model = one_node(step, network.tensors, network.constants)
    assert not model.functions
    assert {each.name for each in model.graph.input}.isdisjoint(network.constants)
    operators.add_functions(model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {each.name: tensors[each.name] for each in session.get_inputs()})
    np.testing.assert_allclose(got, tensors["embedding"], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", models=["mgts"])
    return put_headed_mgts(Bundle.open(root), "fp32")


def test_it_becomes_an_engine(head, bundle, tmp_path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from mgts_trt.plans.installed import require_flavour

    step, network = head
    of = {"bundle": bundle, "model": "mgts", "flavour": require_flavour(), "target": "portable", "folder": tmp_path}
    built = build_operator(step, network.tensors, network.constants, "graph", **of)
    (engine,) = built.record.chain.steps
    assert built.file(engine).stat().st_size == engine.bytes
    assert set(built.record.inputs) == {"foreground_features", "original_features"}
    assert built.record.outputs["embedding"].shape[0] == "N"
    assert built.record.profile.keys() == {"N"}
    with pytest.raises(BuildError, match="hold no plugins"):
        build_operator(step, network.tensors, network.constants, "plugin", **of)
