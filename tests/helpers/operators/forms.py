"""A case through two of an operator's forms: its ONNX function, and its kernel."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.operators import DOMAIN, VERSION, add_functions
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand, OperatorKernel
from tests.helpers.machines import junk
from tests.helpers.operators.case import Case

_OPSET, _IR = 20, 10


def one_node(operator: str, case: Case, like: Sequence[Array]) -> Any:
    """A model of one node, that calls an operator on inputs and outputs of a case's types and sizes."""
    from onnx import helper

    def value(name: str, array: Array) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    outputs = [value(f"output_{i}", array) for i, array in enumerate(like)]
    names = [output.name for output in outputs]
    node = helper.make_node(operator, list(case.inputs), names, domain=DOMAIN, **case.attributes)
    inputs = [value(name, array) for name, array in case.inputs.items()]
    graph = helper.make_graph([node], operator, inputs, outputs)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    add_functions(model)
    return model


def through_function(operator: str, case: Case, like: Sequence[Array]) -> list[Array]:
    """What ONNX Runtime makes of a case by the operator's ONNX function.

    Args:
        operator: See `mgts_trt.bundle.operators`.
        case: See `Case`.
        like: Arrays of the outputs' types and sizes.
    """
    import onnxruntime

    model = one_node(operator, case, like).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, dict(case.inputs))]


def through_kernel(kernel: OperatorKernel, case: Case, like: Sequence[Array], machine: Any) -> list[Array]:
    """What a kernel makes of a case, outputs and scratch holding junk before.

    Args:
        kernel: With the case's attributes.
        case: See `Case`.
        like: Arrays of the outputs' types and sizes.
        machine: See `tests.helpers.machines`.
    """

    def operand(array: Array) -> Operand:
        return Operand(machine.put(array), array.dtype.name, array.shape)

    inputs = [operand(array) for array in case.inputs.values()]
    outputs = [operand(junk(array.shape, array.dtype)) for array in like]
    scratch = kernel.scratch_bytes(inputs)
    where = machine.put(junk(scratch, np.uint8)) if scratch else Pointer(0)
    for _ in range(2):  # the second finds all as the first left it
        machine.run(*kernel.launches(inputs, outputs, where))
    return [machine.get(output.pointer) for output in outputs]
