"""TensorRT engines of the ONNX files that a network was lowered to: all are parsed and proven, then all are built."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt.bundle.macs import Workload
from mgts_trt.bundle.recipe import Profile, Recipe, profile_shapes
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.lower import EngineFile
from mgts_trt.plans.builder.parsing import Layers, Parsed, check_tensors, examine, parse
from mgts_trt.plans.builder.proof import measure, require_share
from mgts_trt.plans.builder.semantics import settle
from mgts_trt.plans.builder.serialize import interrupt_as_flag, serialize
from mgts_trt.plans.builder.staging import disk_errors
from mgts_trt.plans.caches import TimingCache
from mgts_trt.plans.chain import EngineStep
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import Message, OnProgress
from mgts_trt.plans.plan import PlanIdentity


class Engines(NamedTuple):
    """What was built.

    Attributes:
        steps: One for each file, in their order.
        layers: Of all networks together.
    """

    steps: list[EngineStep]
    layers: Layers


class _Network(NamedTuple):
    file: EngineFile
    parsed: Parsed
    layers: Layers
    workload: Workload


def build_engines(
    files: Sequence[EngineFile],
    folder: Path,
    path: Path,
    recipe: Recipe,
    profile: Mapping[str, Profile],
    identity: PlanIdentity,
    flavour: Flavour,
    messages: list[Message],
    on_progress: OnProgress | None,
) -> Engines:
    """Build the engines of a plan.

    Args:
        files: What becomes of each.
        folder: Takes the engines.
        path: The ONNX file they are made of, for messages.
        recipe: Of the model.
        profile: Sizes that the named dimensions of the files' inputs may take.
        identity: Of the plan.
        flavour: The TensorRT.
        messages: What it logs; what had to be mended is added.
        on_progress: Told of all engines as of one.

    Raises:
        BuildError: TensorRT does not understand a file, would compute something else, fails, or the disk refuses.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    with interrupt_as_flag() as interrupted:
        builder = flavour.create_builder()
        networks = [_parse(file, builder, profile, flavour, messages) for file in files]
        whole = Workload(tuple(work for network in networks for work in network.workload.layers))
        require_share(whole, identity.precision, recipe.min_share(identity.precision), path)
        timing = TimingCache(flavour)
        steps = []
        for number, (network, progress) in enumerate(zip(networks, _shares(networks, on_progress), strict=True)):
            name = f"{identity.model}.{number}.plan" if len(files) > 1 else f"{identity.model}.plan"
            data = _build(network, builder, profile, identity, flavour, messages, timing, progress, interrupted)
            with disk_errors(folder.parent):
                (folder / name).write_bytes(data)
            steps.append(
                EngineStep(
                    file=name,
                    sha256=hashlib.sha256(data).hexdigest(),
                    bytes=data.nbytes,
                    macs=network.workload.by_precision,
                    inputs=tuple(network.file.inputs),
                    outputs=tuple(network.file.outputs),
                )
            )
    layers: Counter[str] = Counter()
    for network in networks:
        layers.update(network.layers.by_type)
    return Engines(
        steps,
        Layers(
            sum(network.layers.nodes for network in networks),
            sum(network.layers.nodes_with_layer for network in networks),
            dict(layers),
        ),
    )


def _parse(
    file: EngineFile, builder: Any, profile: Mapping[str, Profile], flavour: Flavour, messages: list[Message]
) -> _Network:
    parsed = parse(flavour, builder, file.path, messages)
    check_tensors(flavour, parsed.network, file.inputs, file.outputs, file.path)
    layers = examine(flavour, parsed.network, file.path)
    shapes = profile_shapes(profile, file.inputs, "opt")
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        pairs = zip(file.inputs[name].shape, shape, strict=True)
        sizes |= {dimension: size for dimension, size in pairs if isinstance(dimension, str)}
    messages += [Message("warning", said) for said in settle(flavour, parsed.network, file.path, sizes)]
    return _Network(file, parsed, layers, measure(flavour, parsed.network, shapes))


def _build(
    network: _Network,
    builder: Any,
    profile: Mapping[str, Profile],
    identity: PlanIdentity,
    flavour: Flavour,
    messages: Sequence[Message],
    timing: TimingCache,
    on_progress: OnProgress | None,
    interrupted: threading.Event,
) -> memoryview:
    config = flavour.create_config(builder, identity.settings, identity.target)
    timing.attach(config)
    _add_profile(builder, config, profile, network.file.inputs)
    plan = serialize(flavour, builder, network.parsed.network, config, on_progress, interrupted)
    if interrupted.is_set():
        raise KeyboardInterrupt
    if plan is None:
        raise BuildError(_why_none(flavour, identity, messages))
    timing.save(config)
    return memoryview(plan)


def _shares(networks: Sequence[_Network], on_progress: OnProgress | None) -> list[OnProgress | None]:
    """For each network the part of a whole that it is, by its layers."""
    sizes = [network.parsed.network.num_layers for network in networks]
    return [_share(on_progress, sum(sizes[:place]), size, sum(sizes)) for place, size in enumerate(sizes)]


def _share(on_progress: OnProgress | None, before: int, size: int, total: int) -> OnProgress | None:
    if on_progress is None:
        return None
    tell: Callable[[str, float], None] = on_progress
    return lambda phase, fraction: tell(phase, (before + fraction * size) / total)


def _add_profile(builder: Any, config: Any, sizes: Mapping[str, Profile], inputs: dict[str, TensorSpec]) -> None:
    """One optimisation profile with these sizes, if any dimension is dynamic."""
    low, best, high = (profile_shapes(sizes, inputs, bound) for bound in ("min", "opt", "max"))
    if not best:
        return
    profile = builder.create_optimization_profile()
    for name in best:
        profile.set_shape(name, low[name], best[name], high[name])
    config.add_optimization_profile(profile)


def _why_none(flavour: Flavour, identity: PlanIdentity, messages: Sequence[Message]) -> str:
    errors = [message.text for message in messages if message.level == "error"]
    return (
        f"{flavour} could not build {identity.model} in {identity.precision} for {identity.target}: "
        f"{'; '.join(errors) or 'it gives no reason'}. Build for another target or in another precision, or change "
        "what it names and export the bundle again."
    )
