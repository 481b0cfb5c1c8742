import numpy as np
import onnx

from mgts_trt.plans.builder.one_picture import fix_batch, varies
from tests.helpers.cut_runs import network, run_model

TEXT = """
    (uint8["B", 6, 4] image, float["N", 6] people) => (float["B", 24] y, float["N", 6] z) {
        x = Cast <to = 1> (image)
        s = Shape <end = 1> (x)
        t = Concat <axis = 0> (s, rest)
        y = Reshape(x, t)
        z = Neg(people)
    }
"""


def test_a_network_of_many_pictures_becomes_one_of_one_and_gives_the_same():
    model = network(TEXT, {"rest": np.array([-1])})
    inputs = {"image": np.arange(24, dtype=np.uint8).reshape(1, 6, 4), "people": np.ones((3, 6), np.float32)}
    wanted = run_model(model, inputs)
    assert varies(model)
    fix_batch(model)
    assert not varies(model)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"image": [1, 6, 4], "people": ["N", 6], "y": [1, 24], "z": ["N", 6]}
    assert "Shape" not in {node.op_type for node in model.graph.node}
    for name, array in run_model(model, inputs).items():
        np.testing.assert_array_equal(array, wanted[name])


def test_what_the_file_says_of_inner_tensors_does_not_contradict_it():
    model = network(TEXT, {"rest": np.array([-1])})
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("B", 6, 4))
    model.graph.value_info.append(info)
    fix_batch(model)
    assert list(model.graph.value_info) == []
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
