import numpy as np
import pytest

from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.builder.tensor_specs import tensor_specs
from tests.helpers.cut_runs import network


@pytest.mark.parametrize(
    ("node", "spec"),
    [
        ("y = Neg(x)", TensorSpec(dtype="float32", shape=("N", 8, 6, 6))),
        ("y = Cast <to = 9> (x)", TensorSpec(dtype="bool", shape=("N", 8, 6, 6))),
        ("s = Shape <end = 2> (x) t = Concat <axis = 0> (s, rest) y = Reshape(x, t)",
         TensorSpec(dtype="float32", shape=("N", 8, 36))),
        ("y = Reshape(x, rest)", TensorSpec(dtype="float32", shape=("288*N",))),
        ("y = Concat <axis = 0> (x, x, map)", None),  # 2 N + 1
        ("t = Concat <axis = 0> (x, x) y = mgts.SeHead(t, t, squeeze, excite, fc)",
         TensorSpec(dtype="float32", shape=("2*N", 5))),
        ("y = NonZero(x)", None),
        ("y = Cast <to = 11> (x)", None),  # no engine takes float64
        ("y = mgts.SeHead(x, x, squeeze, excite, fc)", TensorSpec(dtype="float32", shape=("N", 5))),
        ("y = mgts.Nms <threshold = 0.5> (boxes)", TensorSpec(dtype="float32", shape=("B", 30))),
        ("y = mgts.AlignRois <size = 7, samples = [2, 2], stride = 8.0, dtype = 10> (maps, boxes)",
         TensorSpec(dtype="float16", shape=("30*B", 8, 7, 7))),
        ("o = Expand(one, shape) y = mgts.PsAssemble <bins = 2, size = 6, stride = 8.0> (map, o)",
         TensorSpec(dtype="float32", shape=(9, 2, 6, 6))),
    ],
)  # fmt: skip
def test_types_and_shapes(node, spec):
    weights = {
        "rest": np.array([-1]), "shape": np.array([1, 9, 4]), "one": np.float32([1]),
        "squeeze": np.zeros((3, 16), np.float32), "excite": np.zeros((16, 3), np.float32),
        "fc": np.zeros((5, 16), np.float32),
    }  # fmt: skip
    inputs = 'float["N", 8, 6, 6] x, float["B", 30, 4] boxes, float[1, 8, 6, 6] map, float["B", 8, 6, 6] maps'
    assert tensor_specs(network(f"({inputs}) => (int64 size) {{ {node} size = Size(y) }}", weights))["y"] == spec
