"""A case through two of an operator's forms: its ONNX function, and its kernel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.operators import DOMAIN, VERSION, add_functions
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand, OperatorKernel
from tests.helpers.machines import junk
from tests.helpers.operators.case import Case

_OPSET, _IR = 20, 10


def operator_model(
    operator: str,
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str] | None]],
    attributes: Mapping[str, Any],
) -> Any:
    """A model of one node, which calls an operator, with its body.

    Args:
        operator: See `mgts_trt.bundle.operators`.
        inputs: Name → ONNX's number of the type, and the shape; in the operator's order.
        outputs: Likewise; a shape may be left open.
        attributes: Of the node.
    """
    from onnx import helper

    node = helper.make_node(operator, list(inputs), list(outputs), domain=DOMAIN, **attributes)
    given, made = (
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in values.items()]
        for values in (inputs, outputs)
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    graph = helper.make_graph([node], operator, given, made)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    add_functions(model)
    return model


def one_node(operator: str, case: Case, like: Sequence[Array]) -> Any:
    """`operator_model` of a case, for its types and sizes and those of the outputs it is `like`."""
    from onnx import helper

    def kinds(arrays: Mapping[str, Array]) -> dict[str, tuple[int, tuple[int, ...]]]:
        return {name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in arrays.items()}

    outputs = {f"output_{i}": array for i, array in enumerate(like)}
    return operator_model(operator, kinds(case.inputs), kinds(outputs), case.attributes)


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
