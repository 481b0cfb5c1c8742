"""One operator of a network as a TensorRT engine of its own: what its layers, or its plugin, take by themselves."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle import operators
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.choices import Lowering
from mgts_trt.plans.batch import plan_profile
from mgts_trt.plans.builder.build_engines import build_engines
from mgts_trt.plans.builder.lower import EngineFile
from mgts_trt.plans.chain import Chain, OperatorStep
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.lowering import choose_lowering, require_plugins
from mgts_trt.plans.plan import Plan, PlanIdentity, PlanRecord
from mgts_trt.version import __version__

_OPSET, _IR = 20, 10
"""Of the operators' functions."""


def one_node(step: OperatorStep, tensors: Mapping[str, TensorSpec], constants: Mapping[str, Array]) -> Any:
    """An ONNX model that calls an operator once, on tensors like those it has in its network; without its function.

    Args:
        step: The operator.
        tensors: What its inputs and outputs look like.
        constants: Those of its inputs that are part of the network.
    """
    from onnx import helper, numpy_helper

    def value(name: str) -> Any:
        spec = tensors[name]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)

    node = helper.make_node(
        step.operator, step.inputs, step.outputs, step.node, domain=operators.DOMAIN, **step.attributes
    )
    names = dict.fromkeys(step.inputs)
    graph = helper.make_graph(
        [node],
        step.operator,
        [value(name) for name in names if name not in constants],
        [value(name) for name in step.outputs],
        [numpy_helper.from_array(constants[name], name) for name in names if name in constants],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(operators.DOMAIN, operators.VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)


def build_operator(
    step: OperatorStep,
    tensors: Mapping[str, TensorSpec],
    constants: Mapping[str, Array],
    lowering: Lowering,
    *,
    bundle: Bundle,
    model: str,
    flavour: Flavour,
    target: str,
    folder: Path,
) -> Plan:
    """Build the engine, as plans of networks are built.

    Args:
        step: See `one_node`.
        tensors: Likewise.
        constants: Likewise.
        lowering: `graph` or `plugin`.
        bundle: Holds the network.
        model: The network: its recipe's settings and profile hold for the operator, too.
        flavour: The TensorRT.
        target: `portable` or `sm_…`.
        folder: Empty; takes the plan.

    Raises:
        BuildError: TensorRT refuses, or has no plugins here.
    """
    started = time.perf_counter()
    if choose_lowering(lowering, flavour) == "plugin":
        require_plugins(flavour)
    alone = one_node(step, tensors, constants)
    if lowering == "graph":
        operators.add_functions(alone)
        alone = operators.inline(alone)
    path = folder / f"{step.operator}.onnx"
    path.write_bytes(alone.SerializeToString())
    inputs = {name: tensors[name] for name in dict.fromkeys(step.inputs) if name not in constants}
    outputs = {name: tensors[name] for name in step.outputs}
    recipe = load_recipe(model)
    precision = next(iter(bundle.model(model).files))
    of_network = PlanIdentity.of(bundle, model, precision, target, flavour, lowering)
    # No share of an operator's arithmetic is asked to be in half: it computes in float32.
    identity = of_network.model_copy(update={"precision": "fp32", "lowering": lowering})
    profile = plan_profile(recipe, inputs, identity.batch)
    with flavour.collect() as messages:
        engines = build_engines(
            [EngineFile(path, inputs, outputs)], folder, path, recipe, profile, identity, flavour, messages, None
        )
    record = PlanRecord(
        tool=__version__,
        identity=identity,
        chain=Chain(steps=tuple(engines.steps), tensors={**inputs, **outputs}),
        seconds=time.perf_counter() - started,
        inputs=inputs,
        outputs=outputs,
        profile=profile,
        onnx_nodes=engines.layers.nodes,
        onnx_nodes_with_layer=engines.layers.nodes_with_layer,
        layers=engines.layers.by_type,
        warnings=sum(message.level == "warning" for message in messages),
    )
    return Plan(folder, record)
