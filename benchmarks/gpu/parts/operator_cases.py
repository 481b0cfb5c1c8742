"""The operators of a bundle's networks: the launches of their kernels at the sizes they have there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.gpu.parts.kernel_cases import Case, Put
from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.builder.cut import Cut, cut
from mgts_trt.plans.builder.one_picture import load_for_one
from mgts_trt.plans.chain import Attribute, OperatorStep
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators.kernel_table import kernel_of
from mgts_trt.runtime.operators.operator_kernel import Operand

_CANVAS_HW = (600, 1000)
"""Pixels that boxes without a map lie on."""


@dataclass(frozen=True)
class OperatorCase(Case):
    """An operator's kernel at the sizes of a network, and what else runs the operator needs.

    Attributes:
        model: The first network that has it at these sizes.
        precision: Of the network.
        step: The operator.
        tensors: What its inputs and outputs look like.
        constants: Those of its inputs that are part of the network.
        inputs: The others, by name.
    """

    model: str
    precision: str
    step: OperatorStep
    tensors: Mapping[str, TensorSpec]
    constants: Mapping[str, Array]
    inputs: Mapping[str, Array]


def operator_cases(bundle: Bundle, people: int, put: Put) -> Iterator[OperatorCase]:
    """A case for each operator, of each type and size once, of all models and precisions.

    Args:
        bundle: Gives the networks; one without operators has no cases.
        people: What the dimension of people is; there is one picture.
        put: Where arrays go.

    Raises:
        BackendError: The kernel cannot do an operator of the bundle.
        BuildError: A network cannot be cut at its operators.
    """
    seen = set()
    for name, model in bundle.manifest.models.items():
        for precision in model.files:
            path = bundle.model_path(name, precision)
            network = cut(load_for_one(path), path)
            for step in network.steps:
                if isinstance(step, OperatorStep):
                    specs = tuple(str(network.tensors[each]) for each in (*step.inputs, *step.outputs))
                    what = (step.operator, tuple(step.attributes.items()), specs)
                    if what not in seen:
                        seen.add(what)
                        yield _case(name, precision, step, network, people, put)


def _case(model: str, precision: str, step: OperatorStep, network: Cut, people: int, put: Put) -> OperatorCase:
    tensors, constants = network.tensors, network.constants
    random = np.random.default_rng(0)
    hw = _extent(tensors[step.inputs[0]], step.attributes)

    def example(name: str) -> Array:
        if name in constants:
            return constants[name]
        spec = tensors[name]
        like = spec.zeros(people)
        is_boxes = spec.dtype == "float32" and like.ndim == 3 and like.shape[2] == 4
        made = _boxes(random, like.shape[:2], hw) if is_boxes else random.standard_normal(like.shape)
        return made.astype(spec.dtype)

    arrays = [example(name) for name in step.inputs]
    results = [tensors[name].zeros(people) for name in step.outputs]
    inputs, outputs = ([_operand(array, put) for array in each] for each in (arrays, results))
    kernel = kernel_of(step)
    scratch = kernel.scratch_bytes(inputs)
    launches = kernel.launches(inputs, outputs, put(np.zeros(scratch, np.uint8)) if scratch else Pointer(0))
    work = ", ".join(f"{operand.dtype} {list(operand.shape)}" for operand in inputs)
    return OperatorCase(
        kernel=step.operator,
        work=work,
        bytes=sum(array.nbytes for array in (*arrays, *results)),
        launches=tuple(launches),
        model=model,
        precision=precision,
        step=step,
        tensors={name: tensors[name] for name in (*step.inputs, *step.outputs)},
        constants={name: constants[name] for name in step.inputs if name in constants},
        inputs={name: array for name, array in zip(step.inputs, arrays, strict=True) if name not in constants},
    )


def _operand(array: Array, put: Put) -> Operand:
    return Operand(put(array), array.dtype.name, array.shape)


def _extent(spec: TensorSpec, attributes: Mapping[str, Attribute]) -> tuple[float, float]:
    """Height and width in pixels of what the boxes lie on: the map before them, or a canvas."""
    stride, size = attributes.get("stride"), spec.shape[-2:]
    if not isinstance(stride, float) or len(spec.shape) != 4:
        return _CANVAS_HW
    height, width = (float(cells) * stride for cells in size)
    return height, width


def _boxes(random: np.random.Generator, shape: tuple[int, ...], hw: tuple[float, float]) -> Array:
    """Boxes [*shape, 4], xyxy: a twentieth to a half of the height, upright, within the picture for the most part."""
    height = random.uniform(0.05, 0.5, shape) * hw[0]
    middle = random.uniform(0, 1, (*shape, 2)) * (hw[1], hw[0])
    half = np.stack([height / 5, height / 2], axis=-1)
    return np.concatenate([middle - half, middle + half], axis=-1)
