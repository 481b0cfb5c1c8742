"""From a bundle's ONNX files to TensorRT plans in `plans/`, each whole or not there at all."""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import Recipe, load_recipe
from mgts_trt.choices import LoweringChoice
from mgts_trt.errors import BuildError, MgtsError, PlanError
from mgts_trt.machine.gpus import Gpu, find_gpus
from mgts_trt.plans.batch import at_batch, plan_profile, require_batch
from mgts_trt.plans.builder.build_engines import build_engines
from mgts_trt.plans.builder.lower import EngineFile, lower
from mgts_trt.plans.builder.staging import disk_errors, publish, staging_folder
from mgts_trt.plans.chain import Chain
from mgts_trt.plans.constants import save_constants
from mgts_trt.plans.flavour import INSTALL, Flavour
from mgts_trt.plans.installed import flavour_to_build
from mgts_trt.plans.listeners import Message, OnProgress
from mgts_trt.plans.lowering import choose_lowering, require_plugins
from mgts_trt.plans.plan import LOG, Plan, PlanIdentity, PlanRecord, verify_plan
from mgts_trt.plans.support import CURRENT
from mgts_trt.version import __version__

_GRAPHS = "graphs"
"""What the model is lowered to; it lies in the staging folder until the engines are built."""


@dataclass(frozen=True)
class BuildResult(Plan):
    """A plan that is ready.

    Attributes:
        fresh: False if it was already there and nothing had to be done.
    """

    fresh: bool


@dataclass(frozen=True)
class BuildEvent:
    """One step of `build_bundle`.

    Attributes:
        kind: `start` and `done` frame each plan; `progress` comes often in between.
        model: What is being built.
        precision: In which precision.
        target: For what.
        index: Which of the plans this is, from 0.
        total: How many plans there are.
        phase: What TensorRT is doing.
        fraction: How much of this plan is done, 0…1.
        result: With `done`.
    """

    kind: Literal["start", "progress", "done"]
    model: str
    precision: str
    target: str
    index: int
    total: int
    phase: str = ""
    fraction: float = 0.0
    result: BuildResult | None = None


def parse_targets(text: str | None, flavour: Flavour, gpus: Sequence[Gpu] | None = None) -> list[str]:
    """What to build for, from what a user wrote.

    Args:
        text: Names separated by commas: `"portable,sm_86"`; `current` is the GPU of this machine. None means the
            flavour's default.
        flavour: Knows what it can build for.
        gpus: Of this machine; looked for when needed.

    Returns:
        Each target once, `current` replaced by its compute capability.

    Raises:
        BuildError: A target is unknown to this flavour, or `current` is asked for and there is no GPU.
    """
    gpus = find_gpus() if gpus is None else gpus
    asked = (
        [flavour.default_target(gpus)] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    )
    if not asked:
        raise BuildError(f"No target named; {flavour} builds for {', '.join(flavour.targets)}.")
    return list(dict.fromkeys(_resolve_target(target, flavour, gpus) for target in asked))


def build_plan(
    bundle: Bundle,
    model: str,
    precision: str,
    target: str | None = None,
    *,
    ops: LoweringChoice = "auto",
    batch: int = 1,
    force: bool = False,
    flavour: Flavour | None = None,
    on_progress: OnProgress | None = None,
) -> BuildResult:
    """Build one plan, unless it is there already.

    The plan is written into a folder of its own that takes its final name only when all is done: whatever interrupts
    the build leaves no plan, and processes that build at once do not disturb each other.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.
        target: `portable`, `current` or `sm_…`; None means the flavour's default on this machine.
        ops: How the operators of the domain `mgts` are computed; see `mgts_trt.plans.lowering`. Models that call none
            ignore it.
        batch: Most pictures at once; models that take people ignore it.
        force: Build even if the plan is there.
        flavour: The TensorRT to build with; None means the installed one that can.
        on_progress: Called often while TensorRT builds. What it raises cancels the build and is raised again.

    Raises:
        BackendError: There is no TensorRT here.
        BundleError: The bundle does not hold the model in that precision.
        RecipeError: The model is not what its recipe describes.
        BuildError: The target or lowering is impossible, TensorRT fails, or the plan cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed; the build has been cancelled.
    """
    gpus = find_gpus()
    flavour = flavour or flavour_to_build(target and [target], gpus)
    target = _resolve_target(target or flavour.default_target(gpus), flavour, gpus)
    recipe = _recipe_for(bundle, model, precision, batch)
    identity = PlanIdentity.of(bundle, model, precision, target, flavour, choose_lowering(ops, flavour), batch)
    final = bundle.plans / identity.folder
    if not force and (existing := _usable(final, identity)):
        return BuildResult(final, existing, fresh=False)

    failed_log = bundle.plans / f"{identity.folder}.failed.log"
    with staging_folder(bundle.plans) as folder, flavour.collect() as messages:
        try:
            record = _build_into(folder, bundle, recipe, identity, flavour, messages, on_progress)
        except MgtsError as error:
            log = _keep_log(failed_log, messages)
            said = str(error).replace(f"{folder / _GRAPHS}{os.sep}", "")  # the folder goes
            raise type(error)(f"{said} TensorRT's log: {log}." if log else said) from error
        with disk_errors(bundle.plans):
            _write_log(folder / LOG, messages)
            record.write(folder)
            # Without force a plan that another process has finished meanwhile is as good as this one.
            publish(folder, final, keep=lambda: not force and _usable(final, identity) is not None)
            failed_log.unlink(missing_ok=True)
    return BuildResult(final, PlanRecord.read(final), fresh=True)


def build_bundle(
    bundle: Bundle,
    precisions: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    *,
    models: Iterable[str] | None = None,
    ops: LoweringChoice = "auto",
    batch: int = 1,
    force: bool = False,
    flavour: Flavour | None = None,
    on_event: Callable[[BuildEvent], None] | None = None,
) -> list[BuildResult]:
    """Build the plans of a bundle, one after the other. What is asked for is checked before the first is built.

    Args:
        bundle: An opened bundle.
        precisions: None means all that the bundle holds.
        targets: None means the flavour's default.
        models: None means all that the bundle holds.
        ops: See `build_plan`.
        batch: See `build_plan`.
        force: Build plans that are there already, too.
        flavour: The TensorRT to build with; None means the installed one that can.
        on_event: Told of every step.

    Raises:
        MgtsError: See `build_plan`. Plans built before the one that failed stay.
    """
    flavour = flavour or flavour_to_build(targets, find_gpus())
    resolved = parse_targets(",".join(targets) if targets is not None else None, flavour)
    names = list(bundle.manifest.models if models is None else models)
    jobs = [
        (model, precision, target)
        for model in names
        for precision in (bundle.model(model).files if precisions is None else precisions)
        for target in resolved
    ]
    choose_lowering(ops, flavour)
    for model, precision, _ in jobs:
        _recipe_for(bundle, model, precision, batch)

    tell = on_event or (lambda event: None)
    results = []
    for index, job in enumerate(jobs):
        place = (*job, index, len(jobs))

        def on_progress(phase: str, fraction: float, place: tuple[str, str, str, int, int] = place) -> None:
            tell(BuildEvent("progress", *place, phase=phase, fraction=fraction))

        tell(BuildEvent("start", *place))
        result = build_plan(bundle, *job, ops=ops, batch=batch, force=force, flavour=flavour, on_progress=on_progress)
        tell(BuildEvent("done", *place, fraction=1.0, result=result))
        results.append(result)
    return results


def _resolve_target(target: str, flavour: Flavour, gpus: Sequence[Gpu]) -> str:
    if target == CURRENT:
        if not gpus:
            instead = (
                f"build on the machine that will run the plan, or ahead of time with TensorRT-RTX (`{INSTALL}`)"
                if flavour.default_target() == CURRENT
                else f"name one of {', '.join(name for name in flavour.targets if name != CURRENT)}"
            )
            raise BuildError(f"The target current is the GPU of this machine, and no NVIDIA GPU was found; {instead}.")
        return gpus[0].sm
    if target in flavour.targets:
        return target
    # Named outright, the compute capability of the GPU that is here is the same as `current`.
    if gpus and target == gpus[0].sm:
        return target
    raise BuildError(f"{flavour} cannot build for {target!r}; it builds for {', '.join(flavour.targets)}.")


def _recipe_for(bundle: Bundle, model: str, precision: str, batch: int) -> Recipe:
    bundle.model_path(model, precision)
    require_batch(model, bundle.model(model), batch)
    recipe, entry = load_recipe(model), bundle.model(model)
    if precision not in recipe.precision:
        raise BuildError(
            f"The recipe of {model} knows the precisions {', '.join(recipe.precision)}, not {precision}; "
            "build one of these."
        )
    recipe.bind(entry.inputs, entry.outputs)
    return recipe


def _build_into(
    folder: Path,
    bundle: Bundle,
    recipe: Recipe,
    identity: PlanIdentity,
    flavour: Flavour,
    messages: list[Message],
    on_progress: OnProgress | None,
) -> PlanRecord:
    """Build the plan into `folder` and describe it; nothing else is left there."""
    entry, path = bundle.model(identity.model), bundle.model_path(identity.model, identity.precision)
    started = time.perf_counter()
    if identity.lowering == "plugin":
        require_plugins(flavour)
    with disk_errors(folder.parent):
        graphs = folder / _GRAPHS
        graphs.mkdir()
        lowered = lower(path, entry, identity.lowering, graphs, identity.batch)
    files = [step for step in lowered.steps if isinstance(step, EngineFile)]
    inputs, outputs = (at_batch(specs, identity.batch) for specs in (entry.inputs, entry.outputs))
    profile = plan_profile(recipe, inputs, identity.batch)
    engines = build_engines(files, folder, path, recipe, profile, identity, flavour, messages, on_progress)
    built = iter(engines.steps)
    with disk_errors(folder.parent):
        shutil.rmtree(graphs)
        constants = save_constants(folder, lowered.constants)
    return PlanRecord(
        tool=__version__,
        identity=identity,
        chain=Chain(
            steps=tuple(next(built) if isinstance(step, EngineFile) else step for step in lowered.steps),
            tensors=lowered.tensors,
            constants=tuple(lowered.constants),
            constants_sha256=constants,
        ),
        seconds=round(time.perf_counter() - started, 3),
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        inputs=inputs,
        outputs=outputs,
        profile=profile,
        onnx_nodes=engines.layers.nodes,
        onnx_nodes_with_layer=engines.layers.nodes_with_layer,
        layers=engines.layers.by_type,
        warnings=sum(message.level == "warning" for message in messages),
    )


def _usable(folder: Path, identity: PlanIdentity) -> PlanRecord | None:
    try:
        return verify_plan(folder, identity) if folder.is_dir() else None
    except PlanError:
        return None


def _write_log(path: Path, messages: Sequence[Message]) -> None:
    path.write_text("".join(f"[{message.level}] {message.text}\n" for message in messages), encoding="utf-8")


def _keep_log(path: Path, messages: Sequence[Message]) -> Path | None:
    """The log of a failed build, if it can be written and says anything."""
    if not messages:
        return None
    try:
        _write_log(path, messages)
    except OSError:
        return None
    return path
