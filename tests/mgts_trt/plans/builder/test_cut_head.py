import re
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from pydantic import ValidationError
from rich.console import Console

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli import console
from mgts_trt.cli.app import app
from mgts_trt.cli.build import plan_report
from mgts_trt.cli.facts import inspect
from mgts_trt.cli.facts_text import facts_report
from mgts_trt.errors import BuildError, PlanError
from mgts_trt.plans.builder.build import build_bundle, build_plan
from mgts_trt.plans.builder.cut_head import cut_head
from mgts_trt.plans.head_form import AUTO, FEATURES, HEAD_FILE, choose_head, load_head
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.plan import PlanIdentity, PlanRecord, find_plan, plan_folders, verify_plan
from mgts_trt.runtime.session.onnxruntime import PLAIN_QDQ
from mgts_trt.runtime.session.tensorrt import usable_plan
from mgts_trt.stages.head import fused_head
from tests.helpers.headed_mgts import CHANNELS, headed_mgts, put_headed_mgts
from tests.helpers.paths import TRAINED
from tests.helpers.small_graphs import node
from tests.helpers.tiny_bundle import EMBEDDING, PATCH, make_model, make_tiny_bundle

PRECISIONS = ("fp32", "fp16", "int8")
FLAVOUR = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(
    FLAVOUR is None or FLAVOUR.name != "tensorrt_rtx",
    reason="builds for real need TensorRT-RTX, which is not installed",
)


@pytest.fixture(scope="module")
def headed(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("headed") / "bundle", models=("mgts", "idnet"))
    return put_headed_mgts(Bundle.open(root), *PRECISIONS).root


@pytest.fixture
def bundle(headed, tmp_path):
    return Bundle.open(shutil.copytree(headed, tmp_path / "bundle"))


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*PLAIN_QDQ)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def people(height, width):
    """Six patches of two colours each, that F-Net and O-Net see differently."""
    random = np.random.default_rng(1)
    colours = random.uniform(0, 255, (2, 6, 3, 2, 1)).repeat(height // 2, axis=3).repeat(width, axis=4)
    return dict(zip(("foreground", "original"), colours.astype(np.float32), strict=True))


class TestCut:
    @pytest.mark.parametrize(("precision", "cosine"), [("fp32", 1 - 1e-6), ("fp16", 1 - 1e-5), ("int8", 0.99)])
    def test_cut_and_fused_head_are_the_whole_model(self, headed, precision, cosine):
        path = headed / f"mgts.{precision}.onnx"
        inputs = people(*PATCH)
        [whole] = run(path.read_bytes(), inputs)
        assert (whole @ whole.T).min() < 0.97  # or the comparison would say nothing
        cut = cut_head(path)
        features = dict(zip(FEATURES, run(cut.model.SerializeToString(), inputs), strict=True))
        for name, array in features.items():
            assert cut.outputs[name].admits(array.dtype.name, array.shape)
            assert array.dtype == (np.float32 if precision == "fp32" else np.float16)
        again = fused_head(features[FEATURES[0]], features[FEATURES[1]], cut.weights)
        assert (again * whole).sum(1).min() >= cosine
        if precision == "fp32":
            np.testing.assert_allclose(again, whole, atol=1e-5)

    def test_the_trained_model(self):
        path = TRAINED / "mgts.fp32.onnx"
        cut = cut_head(path)
        height, width = Bundle.open(path.parent).manifest.patch
        inputs = people(height, width)
        [whole] = run(path.read_bytes(), inputs)
        f, o = run(cut.model.SerializeToString(), inputs)
        np.testing.assert_allclose(fused_head(f, o, cut.weights), whole, atol=1e-5)

    def test_weights(self, headed):
        expected = headed_mgts("fp32").constants
        weights = {precision: cut_head(headed / f"mgts.{precision}.onnx").weights for precision in PRECISIONS}
        for name, layer in (("squeeze", "squeezed"), ("excite", "excited"), ("fc", "vector")):
            original = expected[f"{layer}.weight"]
            for precision, found in weights.items():
                matrix = getattr(found, name)
                assert matrix.dtype == np.float32
                # Half an 8-bit step of the row's largest weight, and the rounding of scale and product to float16.
                bound = 0.0 if precision != "int8" else np.abs(original).max(axis=1, keepdims=True) * (0.5 / 127 + 2e-3)
                assert (np.abs(matrix - original) <= bound).all()

    def test_nothing_but_the_head_is_cut_away(self, headed):
        cut = cut_head(headed / "mgts.fp16.onnx").model
        onnx.checker.check_model(cut, full_check=True)
        assert [value.name for value in cut.graph.input] == ["foreground", "original"]
        assert {each.op_type for each in cut.graph.node} == {"Cast", "Div", "Conv", "Relu", "AveragePool"}
        assert not any("squeezed" in tensor.name or "vector" in tensor.name for tensor in cut.graph.initializer)


def add_bias(parts):
    parts.constants["bias"] = np.zeros(EMBEDDING, np.float32)
    parts.named("vector").input.append("bias")


def swap_streams(parts):
    parts.named("pooled").input[:] = ["original_mean", "foreground_mean"]


def gate_what_was_gated(parts):
    parts.named("weighted").input[:] = ["gates", "gates"]


def read_another_tensor(parts):
    parts.named("original_mean").input[0] = "original_relu"


def pool_lines(parts):
    parts.constants["space"] = np.array([3])


def keep_space(parts):
    parts.named("foreground_mean").attribute[0].i = 1


def other_activation(parts):
    parts.named("hidden").op_type = "Tanh"


def other_floor(parts):
    parts.constants["floor"] = np.array(1e-3, np.float32)


def upper_bound(parts):
    parts.constants["most"] = np.array(1, np.float32)
    parts.named("length").input.append("most")


def scaled_product(parts):
    parts.named("squeezed").attribute.append(onnx.helper.make_attribute("alpha", 2.0))


def one_more_step(parts):
    parts.named("embedding").output[0] = "unit"
    parts.nodes.append(node("Neg", "unit", "embedding"))


def no_norm(parts):
    parts.nodes.remove(parts.named("embedding"))
    parts.nodes.append(node("Identity", "vector", "embedding"))


def rescale(parts):
    """Quantise in one scale and dequantise in another, which is a multiplication."""
    parts.constants |= {"a": np.float32(0.02).reshape(()), "b": np.float32(0.04).reshape(())}
    parts.nodes[-1:-1] = [node("QuantizeLinear", "vector a", "q"), node("DequantizeLinear", "q b", "louder")]
    parts.nodes[-1].input[0] = "louder"


def round_numbers(parts):
    parts.nodes[-1:-1] = [node("Cast", "vector", "whole", to=onnx.TensorProto.INT32)]
    parts.nodes[-1:-1] = [node("Cast", "whole", "rounded", to=onnx.TensorProto.FLOAT)]
    parts.nodes[-1].input[0] = "rounded"


class TestForeignHeads:
    @pytest.mark.parametrize(
        ("spoil", "step", "found"),
        [
            (add_bias, 9, "Gemm(#8, matrix, float32 [128], alpha=1.0, transA=0, transB=1)"),
            (swap_streams, 1, "ReduceMean(original_features, [2, 3], keepdims=0)"),
            (gate_what_was_gated, 8, "Mul(#7, #7)"),
            (read_another_tensor, 2, "Concat(#1, original_mean, axis=1)"),
            (pool_lines, 1, "ReduceMean(foreground_features, [3], keepdims=0)"),
            (keep_space, 1, "ReduceMean(foreground_features, [2, 3], keepdims=1)"),
            (other_activation, 5, "Tanh(#4)"),
            (other_floor, 11, "Clip(#10, 0.001)"),
            (upper_bound, 11, "Clip(#10, 1e-12, 1)"),
            (scaled_product, 4, "Gemm(#3, matrix, alpha=2.0, transA=0, transB=1)"),
            (one_more_step, 13, "Neg(#12)"),
            (no_norm, 10, "Identity(#9)"),
            (rescale, 10, "QuantizeLinear(#9, 0.02"),
            (round_numbers, 10, "Cast(#9, saturate=1, to=6)"),
        ],
    )
    def test_the_step_that_differs_is_named(self, tmp_path, spoil, step, found):
        parts = headed_mgts()
        spoil(parts)
        # Shapes need not fit: a head is refused for what it computes.
        onnx.save(parts.model(sound=False), tmp_path / "mgts.onnx")
        with pytest.raises(BuildError) as caught:
            cut_head(tmp_path / "mgts.onnx")
        assert f"step {step} is {found}" in str(caught.value)
        assert "expected. Build with --head graph." in str(caught.value)

    def test_an_operator_of_ones_own(self, tmp_path):
        parts = headed_mgts()
        parts.named("hidden").op_type, parts.named("hidden").domain = "Fantasy", "own"
        model = parts.model(sound=False)
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
        onnx.save(model, tmp_path / "mgts.onnx")
        with pytest.raises(BuildError, match=r"step 5 is Fantasy\(#4\), and Relu\(#4\) was expected"):
            cut_head(tmp_path / "mgts.onnx")

    def test_a_model_without_feature_maps(self, tmp_path):
        onnx.save(make_model("mgts"), tmp_path / "mgts.onnx")
        with pytest.raises(BuildError, match=r"no tensor foreground_features.*or build with --head graph"):
            cut_head(tmp_path / "mgts.onnx")

    def test_maps_of_two_sizes(self, tmp_path):
        parts = headed_mgts()
        for attribute in parts.named("original_features").attribute:
            attribute.ints[:] = [4, 4]
        onnx.save(parts.model(), tmp_path / "mgts.onnx")
        with pytest.raises(
            BuildError, match=r"float32 \[N, 16, 4, 2\] and original_features is float32 \[N, 16, 8, 4\]"
        ):
            cut_head(tmp_path / "mgts.onnx")

    def test_maps_of_unknown_size(self, tmp_path):
        onnx.save(headed_mgts().model(patch=("H", PATCH[1])), tmp_path / "mgts.onnx")
        with pytest.raises(BuildError, match=r"foreground_features is .*, but the fused head reads .* of known size"):
            cut_head(tmp_path / "mgts.onnx")


class TestChoice:
    @pytest.mark.parametrize(
        ("model", "choice", "form"),
        [
            ("mgts", "auto", AUTO),
            ("mgts", "graph", "graph"),
            ("mgts", "fused", "fused"),
            ("idnet", "fused", "graph"),
            ("detector", "auto", "graph"),
        ],
    )
    def test_forms(self, model, choice, form):
        assert choose_head(model, choice) == form

    def test_unknown(self):
        with pytest.raises(BuildError, match="There is no head 'plugin'; it is auto, graph or fused"):
            choose_head("idnet", "plugin")


@needs_rtx
class TestBuild:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_a_headless_plan(self, bundle, precision):
        result = build_plan(bundle, "mgts", precision, head="fused")
        record = result.record
        assert ".portable.fused." in result.folder.name
        files = sorted(path.name for path in result.folder.iterdir())
        assert files == ["build.log", HEAD_FILE, "mgts.plan", "plan.json"]
        assert record.inputs == bundle.model("mgts").inputs
        cut = cut_head(bundle.model_path("mgts", precision))
        assert record.outputs == cut.outputs
        assert record.macs == {precision: 8 * 2 * CHANNELS * 27 * PATCH[0] * PATCH[1]}
        weights = load_head(result.folder, record.identity.head)
        for name in ("squeeze", "excite", "fc"):
            np.testing.assert_array_equal(getattr(weights, name), getattr(cut.weights, name), strict=True)

    def test_both_forms_side_by_side(self, bundle):
        built = {head: build_plan(bundle, "mgts", "fp16", head=head) for head in ("graph", "fused")}
        assert len(plan_folders(bundle)) == 2
        assert load_head(built["graph"].folder, "graph") is None
        assert list(built["graph"].record.outputs) == ["embedding"]
        for head, result in built.items():
            identity = PlanIdentity.of(bundle, "mgts", "fp16", "portable", FLAVOUR, head)
            assert find_plan(bundle, identity).file == result.file
            assert not build_plan(bundle, "mgts", "fp16", head=head).fresh
            with console.out.capture() as shown:
                console.out.print(facts_report(inspect(result.folder)))
            assert ("kernel behind the plan" in shown.get()) == (head == "fused")
        assert build_plan(bundle, "mgts", "fp16").folder == built[AUTO].folder

    def test_one_is_not_taken_for_the_other(self, bundle):
        graph = build_plan(bundle, "mgts", "fp32", head="graph")
        identity = PlanIdentity.of(bundle, "mgts", "fp32", "portable", FLAVOUR, "fused")
        shutil.copytree(graph.folder, bundle.plans / identity.folder)
        sentence = r"its head lies in its graph, not in a kernel behind it. Build it again with `.*bundle --head fused`"
        with pytest.raises(PlanError, match=sentence):
            find_plan(bundle, identity)

    def test_the_form_is_named_where_there_is_no_plan(self, bundle):
        with pytest.raises(PlanError, match=r"mgts in fp32 for portable with a fused head\. Build it .*--head fused`"):
            usable_plan(bundle, "mgts", "fp32", "fused", flavour=FLAVOUR, gpus=[])
        graph = build_plan(bundle, "mgts", "fp32", head="graph")
        with pytest.raises(PlanError, match=rf"It has {graph.folder.name}, but its head lies in its graph"):
            usable_plan(bundle, "mgts", "fp32", "fused", flavour=FLAVOUR, gpus=[])
        assert usable_plan(bundle, "mgts", "fp32", flavour=FLAVOUR, gpus=[]).record == graph.record

    def test_auto_takes_what_is_there(self, bundle):
        fused = build_plan(bundle, "mgts", "fp32", head="fused").record
        assert usable_plan(bundle, "mgts", "fp32", "auto", flavour=FLAVOUR, gpus=[]).record == fused
        both = {"fused": fused, "graph": build_plan(bundle, "mgts", "fp32", head="graph").record}
        assert usable_plan(bundle, "mgts", "fp32", "auto", flavour=FLAVOUR, gpus=[]).record == both[AUTO]

    def test_idnet_has_no_such_head(self, bundle):
        results = build_bundle(bundle, ["fp32"], models=["idnet", "mgts"], head="fused")
        assert [result.record.identity.head for result in results] == ["graph", "fused"]
        assert build_plan(bundle, "idnet", "fp32", head="graph").folder == results[0].folder
        console = Console(width=200)
        with console.capture() as captured:
            console.print(plan_report(results))
        assert re.findall(r"idnet|mgts, fused", captured.get()) == ["idnet", "mgts, fused"]

    def test_a_foreign_head_leaves_no_plan(self, tmp_path):
        bundle = Bundle.open(make_tiny_bundle(tmp_path / "bundle", models=["mgts"]))
        with pytest.raises(BuildError, match="has no tensor foreground_features"):
            build_plan(bundle, "mgts", "fp32", head="fused")
        assert list(bundle.plans.iterdir()) == []

    def test_precision_is_proved_without_the_head_too(self, bundle):
        shutil.copyfile(bundle.model_path("mgts", "fp32"), bundle.model_path("mgts", "fp16"))
        with pytest.raises(BuildError, match=r"to be fp16, but of its .* 100% fp32"):
            build_plan(bundle, "mgts", "fp16", head="fused")

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda path: path.unlink(), "is missing"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is truncated or altered"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "is altered: its SHA-256"),
        ],
    )
    def test_spoilt_weights(self, bundle, spoil, message):
        built = build_plan(bundle, "mgts", "fp32", head="fused")
        spoil(built.folder / HEAD_FILE)
        with pytest.raises(PlanError, match=rf"head\.npz .*{message}.*--head fused`"):
            verify_plan(built.folder, built.record.identity)
        again = build_plan(bundle, "mgts", "fp32", head="fused")
        assert again.fresh
        assert verify_plan(again.folder) == again.record

    def test_the_command(self, bundle, capsys):
        arguments = ["build", str(bundle.root), "--model", "mgts", "--precision", "fp32", "--head", "fused"]
        app(arguments, standalone_mode=False)
        assert "mgts, fused" in capsys.readouterr().out
        [folder] = plan_folders(bundle)
        assert PlanRecord.read(folder).identity.head == "fused"


class TestSidecar:
    """What only somebody who writes sidecars could get wrong."""

    @pytest.fixture
    def record(self, bundle):
        fields = {"tool": "0", "plan_sha256": "a" * 64, "plan_bytes": 1, "seconds": 0, "inputs": {}, "outputs": {}}
        fields |= {"profile": {}, "onnx_nodes": 1, "onnx_nodes_with_layer": 1, "layers": {}, "macs": {}, "warnings": 0}
        identity = {"model": "mgts", "precision": "fp32", "flavour": "tensorrt", "flavour_version": "1", "target": "a"}
        identity |= {"platform": "a", "onnx_sha256": "a" * 64, "recipe_sha256": "a" * 64, "settings": {}}
        return lambda head, file: PlanRecord.model_validate(
            {**fields, "identity": {**identity, "head": head}, "head": file}
        )

    def test_a_fused_head_has_its_weights_and_no_other_does(self, record):
        file = {"sha256": "b" * 64, "bytes": 1}
        assert record("fused", file).head.bytes == 1
        for head, wrong in (("fused", None), ("graph", file)):
            with pytest.raises(ValidationError, match="a fused head, and no other, has its weights"):
                record(head, wrong)

    def test_weights_that_are_none(self, record, tmp_path):
        (tmp_path / HEAD_FILE).write_bytes(b"PK\x03\x04")
        with pytest.raises(PlanError, match=r"Cannot read .*head\.npz"):
            load_head(tmp_path, "fused")
