from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from mgts_trt.bundle import operators
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError, OnnxError
from mgts_trt.plans.builder.cut import Part, cut
from tests.helpers.cut_runs import network, run_cut, run_model

PATH = Path("network.onnx")
RANDOM = np.random.default_rng(0)
MATRICES = {"squeeze": (3, 16), "excite": (16, 3), "fc": (5, 16)}
FLOATS = {name: RANDOM.normal(0, 1, shape).astype(np.float32) for name, shape in MATRICES.items()}
HALVES = {f"{name}_half": array.astype(np.float16) for name, array in FLOATS.items()}
INTEGERS = {
    **{f"{name}_int8": RANDOM.integers(-127, 128, shape).astype(np.int8) for name, shape in MATRICES.items()},
    **{f"{name}_scale": RANDOM.uniform(0.01, 0.02, shape[0]).astype(np.float16) for name, shape in MATRICES.items()},
}
WIDE = " ".join(f"{name} = Cast <to = 1> ({name}_half)" for name in MATRICES)
DEQUANTISED = " ".join(f"{name} = DequantizeLinear <axis = 0> ({name}_int8, {name}_scale)" for name in MATRICES)
HEAD = "y = mgts.SeHead (f, o, squeeze, excite, fc)"
REGIONS = "r = mgts.AlignRois <size = 3, samples = [2, 2], stride = 8.0, dtype = 1> (f, boxes)"
HALF_REGIONS = "r = mgts.AlignRois <size = 3, samples = [2, 2], stride = 8.0, dtype = 10> (h, boxes)"
NMS = "keep = mgts.Nms <threshold = 0.5> (boxes)"
ASSEMBLED = "masks = mgts.PsAssemble <bins = 2, size = 4, stride = 8.0> (f, boxes)"
MAP, BOXES = "float[1, 8, 6, 6] x", "float[1, 7, 4] boxes"

CASES = {
    "no operator": ("Relu", f"({MAP}) => (float[1, 8, 6, 6] y) {{ y = Relu(x) }}", {}),
    "an operator alone": ("Nms", f"({BOXES}) => (float[1, 7] keep) {{ {NMS} }}", {}),
    "engines around it": (
        "Relu | AlignRois | Tanh",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] y) {{ f = Relu(x) {REGIONS} y = Tanh(r) }}",
        {},
    ),
    "an operator last": (
        "Relu | AlignRois",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] r) {{ f = Relu(x) {REGIONS} }}",
        {},
    ),
    "an operator's output is one of the network's and read on": (
        "Relu | Nms | AlignRois | Mul",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] y, float[7, 8, 3, 3] r, float[1, 7] keep) {{"
        f" f = Relu(x) {NMS} {REGIONS} y = Mul(r, r) }}",
        {},
    ),
    "two operators in a row": (
        "Relu | AlignRois | SeHead",
        f"({MAP}, {BOXES}) => (float[7, 5] y) {{ f = Relu(x) {REGIONS}"
        " y = mgts.SeHead(r, r, squeeze, excite, fc) }",
        FLOATS,
    ),
    "two that read one engine": (
        "Relu | AlignRois | PsAssemble | ReduceMean ReduceMean Unsqueeze Unsqueeze Concat",
        f"({MAP}, {BOXES}) => (float[7, 2] y) {{ f = Relu(x) {REGIONS} {ASSEMBLED}"
        " a = ReduceMean <keepdims = 0> (r, rest) b = ReduceMean <keepdims = 0> (masks, rest)"
        " c = Unsqueeze(a, one) d = Unsqueeze(b, one) y = Concat <axis = 1> (c, d) }",
        {"rest": np.array([1, 2, 3]), "one": np.array([1])},
    ),
    "a tensor that skips an operator": (
        "Relu Tanh | AlignRois | ReduceMax Mul",
        f"({MAP}, {BOXES}) => (float[1, 8, 6, 6] z) {{ f = Relu(x) t = Tanh(f) {REGIONS}"
        " m = ReduceMax <keepdims = 0> (r) z = Mul(t, m) }",
        {},
    ),
    "pictures in a dimension, and regions of all of them": (
        "Relu | AlignRois | Nms | ReduceMean Shape Reshape Mul",
        '(float["B", 8, 6, 6] x, float["B", 7, 4] boxes) => (float["B", 7] y) {'
        f" f = Relu(x) {REGIONS} {NMS} m = ReduceMean <keepdims = 0> (r, rest)"
        " s = Shape(keep) z = Reshape(m, s) y = Mul(z, keep) }",
        {"rest": np.array([1, 2, 3])},
    ),
    "nodes that nobody needs": (
        "Relu | AlignRois",
        f"({MAP}, {BOXES}, float[1] other) => (float[7, 8, 3, 3] r) {{ f = Relu(x) dead = Tanh(f)"
        f" {REGIONS} more = Sqrt(r) {NMS} }}",
        {},
    ),
    "a constant on both sides": (
        "Add Mul | AlignRois | Add Mul",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] y) {{ twice = Add(w, w) f = Mul(x, twice) {REGIONS}"
        " y = Mul(r, twice) }",
        {"w": np.float32(0.25)},
    ),
    "a constant that is an output": (
        "Add Relu | AlignRois",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] r, float[2] twice) {{ twice = Add(w, w) f = Relu(x) {REGIONS} }}",
        {"w": np.float32([1, 2])},
    ),
    "integers and truths pass": (
        "TopK Greater | Nms | GatherElements Greater And",
        f"(float[1, 7] scores, {BOXES}) => (float[1, 7] y, bool[1, 7] both) {{"
        " best, places = TopK <axis = 1> (scores, seven) high = Greater(best, half)"
        f" {NMS} y = GatherElements <axis = 1> (keep, places) kept = Greater(keep, half) both = And(kept, high) }}",
        {"seven": np.array([7]), "half": np.float32(0.5)},
    ),
    "shapes are no tensors that pass": (
        "Relu Neg | SeHead | Shape Concat Reshape",
        '(float["N", 8, 6, 6] x) => (float["N", 1, 5] z) { f = Relu(x) o = Neg(f) size = Shape <end = 1> (x)'
        f" shape = Concat <axis = 0> (size, tail) {HEAD} z = Reshape(y, shape) }}",
        {**FLOATS, "tail": np.array([1, 5])},
    ),
    "a known shape is a constant": (
        "Relu | AlignRois | Constant Concat Reshape",
        f"({MAP}, {BOXES}) => (float[7, 72] y) {{ f = Relu(x) size = Shape <start = 1, end = 2> (boxes)"
        f" shape = Concat <axis = 0> (size, rest) {REGIONS} y = Reshape(r, shape) }}",
        {"rest": np.array([-1])},
    ),
    "values that follow from shapes are an operator's input": (
        "Relu Shape Concat Expand | AlignRois",
        '(float["N", 8, 6, 6] x) => (float["N", 8, 3, 3] r) { f = Relu(x) size = Shape <end = 1> (x)'
        f" shape = Concat <axis = 0> (size, tail) boxes = Expand(box, shape) {REGIONS} }}",
        {"tail": np.array([1, 4]), "box": np.float32([[[0, 0, 20, 30]]])},
    ),
    "boxes that are constant": (
        "Relu | AlignRois",
        f"({MAP}) => (float[1, 8, 3, 3] r) {{ f = Relu(x) {REGIONS} }}",
        {"boxes": np.float32([[[0, 0, 20, 30]]])},
    ),
    "a dynamic dimension": (
        "Relu Neg | SeHead",
        f'(float["N", 8, 6, 6] x) => (float["N", 5] y) {{ f = Relu(x) o = Neg(f) {HEAD} }}',
        FLOATS,
    ),
    "weights in half": (
        "Relu Neg | SeHead",
        f'(float["N", 8, 6, 6] x) => (float["N", 5] y) {{ f = Relu(x) o = Neg(f) {WIDE} {HEAD} }}',
        HALVES,
    ),
    "weights in integers": (
        "Relu Neg | SeHead",
        f'(float["N", 8, 6, 6] x) => (float["N", 5] y) {{ f = Relu(x) o = Neg(f) {DEQUANTISED} {HEAD} }}',
        INTEGERS,
    ),
    "casts stay in the engines": (
        "Cast | AlignRois | Cast",
        f"({MAP}, {BOXES}) => (float[7, 8, 3, 3] y) {{ h = Cast <to = 10> (x) {HALF_REGIONS} y = Cast <to = 1> (r) }}",
        {},
    ),
    "three stages": (
        "Nms | Unsqueeze Mul | Nms | Unsqueeze Mul | Nms | Neg",
        f"({BOXES}) => (float[1, 7] y) {{ {NMS} a = Unsqueeze(keep, two) b = Mul(boxes, a)"
        " k = mgts.Nms <threshold = 0.4> (b) c = Unsqueeze(k, two) d = Mul(boxes, c)"
        " l = mgts.Nms <threshold = 0.3> (d) y = Neg(l) }",
        {"two": np.array([2])},
    ),
    "a branch reads what an operator makes": (
        "Nms | If",
        f"({BOXES}, bool which) => (float[1, 7] y) {{ {NMS}"
        " y = If (which) <then_branch = yes () => (float[1, 7] u) { u = Neg(keep) },"
        " else_branch = no () => (float[1, 7] v) { v = Add(keep, keep) }> }",
        {},
    ),
}  # fmt: skip


def arrays(model, people=3):
    """Inputs of every type; boxes are boxes, best first or not."""
    random = np.random.default_rng(1)
    for value in model.graph.input:
        shape = [people if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name == "boxes":
            corner, size = random.uniform(0, 30, (2, *shape[:2], 2))
            yield value.name, np.concatenate([corner, corner + size], 2).astype(kind)
        elif kind == np.bool_:
            yield value.name, np.array(True)
        else:
            yield value.name, random.normal(0, 1, shape).astype(kind)


def written(chain):
    """The operators of each step: `Relu Neg | SeHead | Tanh`."""
    return " | ".join(
        " ".join(node.op_type for node in step.model.graph.node) if isinstance(step, Part) else step.operator
        for step in chain.steps
    )


def same_as_whole(model):
    inputs = dict(arrays(model))
    whole, chain = run_model(model, inputs), cut(model, PATH)
    tensors = run_cut(chain, inputs)
    for name, expected in whole.items():
        np.testing.assert_array_equal(tensors[name], expected)
        assert tensors[name].dtype == expected.dtype
    return chain


@pytest.mark.parametrize("case", CASES)
def test_a_chain_computes_what_the_network_does(case):
    shape, text, weights = CASES[case]
    assert written(same_as_whole(network(text, weights))) == shape


def random_network(seed):
    """Boxes through up to ten nodes, each of which reads what it likes of those before; some are nobody's."""
    random = np.random.default_rng(seed)
    boxes, numbers, lines = ["boxes"], list[str](), list[str]()
    for index in range(random.integers(3, 11)):
        name, kind = f"t{index}", random.integers(6)
        source, other = random.choice(boxes), random.choice(boxes)
        if kind < 2 or (kind == 2 and not numbers):
            lines.append(f"{name} = mgts.Nms <threshold = {0.2 + 0.1 * index:.1f}> ({source})")
            numbers.append(name)
        elif kind == 2:
            lines.append(f"{name}_wide = Unsqueeze({random.choice(numbers)}, two)")
            lines.append(f"{name} = Mul({source}, {name}_wide)")
            boxes.append(name)
        elif kind == 3:
            lines.append(f"{name}_size = Shape({source}) {name} = Reshape({other}, {name}_size)")
            boxes.append(name)
        elif kind == 4:
            lines.append(f"{name}_far = Neg(shift) {name} = Add({source}, {name}_far)")
            boxes.append(name)
        else:
            lines.append(f"{name} = Max({source}, {other})")
            boxes.append(name)
    outputs = [f'float["B", 7, 4] {boxes[-1]}'] if len(boxes) > 1 else []
    outputs += [f'float["B", 7] {name}' for name in random.permutation(numbers)[:2]]
    text = f'(float["B", 7, 4] boxes) => ({", ".join(outputs)}) {{ {" ".join(lines)} }}'
    return network(text, {"two": np.array([2]), "shift": np.float32(-3)})


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    chain = same_as_whole(random_network(seed))
    known = {"boxes"}
    for step in chain.steps:
        assert set(step.inputs) <= known
        assert not known & set(step.outputs)
        known |= set(step.outputs)


def test_named_dimensions_stay_along_the_chain():
    _, text, weights = CASES["shapes are no tensors that pass"]
    tensors = cut(network(text, weights), PATH).tensors
    assert tensors["f"] == TensorSpec(dtype="float32", shape=("N", 8, 6, 6))
    assert tensors["z"] == TensorSpec(dtype="float32", shape=("N", 1, 5))


def test_the_operator_s_step():
    _, text, weights = CASES["casts stay in the engines"]
    chain = cut(network(text, weights), PATH)
    [step] = [step for step in chain.steps if not isinstance(step, Part)]
    assert step.inputs == ("h", "boxes")
    assert step.attributes == {"size": 3, "samples": (2, 2), "stride": 8.0, "dtype": 10}
    assert chain.tensors["h"].dtype == chain.tensors["r"].dtype == "float16"


@pytest.mark.parametrize("case", ["weights in half", "weights in integers", "a dynamic dimension"])
def test_constants_of_operators_are_float32(case):
    _, text, weights = CASES[case]
    chain = cut(network(text, weights), PATH)
    assert list(chain.constants) == list(MATRICES)
    for name, array in chain.constants.items():
        assert (array.dtype, array.shape) == (np.float32, MATRICES[name])
        assert chain.tensors[name] == TensorSpec(dtype="float32", shape=array.shape)
        if case == "weights in integers":
            integers, scale = weights[f"{name}_int8"], weights[f"{name}_scale"]
            expected = (integers.astype(np.float32) * scale[:, None].astype(np.float32)).astype(np.float16)
            np.testing.assert_array_equal(array, expected.astype(np.float32))


def test_the_model_stays_as_it_is():
    _, text, weights = CASES["weights in half"]
    model = network(text, weights)
    before = model.SerializeToString()
    cut(model, PATH)
    assert model.SerializeToString() == before


def test_functions_of_others_are_inlined_and_bodies_may_be_missing():
    text = """<ir_version: 10, opset_import: ["" : 20, "mgts" : 1, "own" : 1]>
        network (float[1, 7, 4] boxes) => (float[1, 7] keep) { moved = own.Move(boxes)
        keep = mgts.Nms <threshold = 0.5> (moved) }
        <domain: "own", opset_import: ["" : 20]> Move (b) => (m) { m = Neg(b) }"""
    model = parser.parse_model(text)
    chain = cut(model, PATH)
    assert written(chain) == "Neg | Nms"
    operators.add_functions(model)
    inputs = dict(arrays(model))
    np.testing.assert_array_equal(run_cut(chain, inputs)["keep"], run_model(model, inputs)["keep"])


def _other_version(model):
    next(entry for entry in model.opset_import if entry.domain == "mgts").version = 2


def _unknown(model):
    model.graph.node[0].op_type = "Nose"
    operators.drop_functions(model)


@pytest.mark.parametrize(
    ("text", "spoil", "error", "message"),
    [
        (f"({BOXES}) => (float[1, 7] keep) {{ {NMS} }}", _other_version, BuildError, "in version 2, and .* version 1"),
        (f"({BOXES}) => (float[1, 7] keep) {{ {NMS} }}", _unknown, OnnxError, "no operator mgts.Nose; there are Nms"),
        (
            f"({BOXES}, float[1, 7] x, bool which) => (float[1, 7] y) {{ y = If (which) <"
            f"then_branch = yes () => (float[1, 7] keep) {{ {NMS} }},"
            "else_branch = no () => (float[1, 7] v) { v = Neg(x) }> }",
            None, BuildError, "calls Nms inside /If_0, and a network cannot be cut in a branch or loop. Build",
        ),
        (
            '(float["N", 8] x) => (float[M, 8] y) { f = NonZero(x) g = Cast <to = 1> (f) b = Unsqueeze(g, none)'
            " y = mgts.Nms <threshold = 0.5> (b) }",
            None, BuildError, "network.onnx: what b, which /Unsqueeze_2 makes, looks like is not known before it runs",
        ),
        (
            f"({BOXES}) => (float[1, 7] y) {{ r = mgts.AlignRois <size = 3, samples = [2, 2], stride = 8.0, dtype = 1>"
            " (whole, boxes) }",
            None, BuildError, "the constant whole is int64, and operators .* take floats",
        ),
        ("(float[1] x) => (float[1] x) { y = Neg(x) }", None, BuildError, "computes nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut(text, spoil, error, message):
    model = network(text.replace("=> (float[1, 7] y) { r", "=> (float[7, 8, 3, 3] r) { r"))
    if "whole" in text:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 8, 6, 6), np.int64), "whole"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "none"))
    if spoil:
        spoil(model)
    with pytest.raises(error, match=message):
        cut(model, PATH)
