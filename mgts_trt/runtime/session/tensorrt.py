"""TensorRT plans at run time: which one fits this machine, whether it is whole, and running it."""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Model
from mgts_trt.bundle.tensors import TensorSpec, check_arrays
from mgts_trt.choices import LoweringChoice
from mgts_trt.errors import BackendError, MgtsError, PlanError
from mgts_trt.machine.gpus import Gpu, find_gpus
from mgts_trt.plans.batch import at_batch
from mgts_trt.plans.build_commands import build_command
from mgts_trt.plans.constants import load_constants
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour, require_flavour, why_no_flavour
from mgts_trt.plans.lowering import LOWERINGS, choose_lowering, require_plugins
from mgts_trt.plans.plan import Plan, PlanIdentity, built_batches, find_plan, plan_folders
from mgts_trt.plans.support import CURRENT, PORTABLE, runs_on
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.operators.kernel_table import kernel_of
from mgts_trt.runtime.session.base import LoadedPlan
from mgts_trt.runtime.session.engine import Engine
from mgts_trt.runtime.session.engine_chain import EngineChain


def usable_plan(
    bundle: Bundle,
    model: str,
    precision: str,
    ops: LoweringChoice = "auto",
    batch: int = 1,
    *,
    flavour: Flavour,
    gpus: Sequence[Gpu],
) -> Plan:
    """Find and verify the plan this machine would run.

    A plan for exactly this GPU is preferred to a portable one. Without a GPU the portable plan is taken.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.
        ops: How it computes the network's operators; `auto` takes the best of those that are built.
        batch: Pictures at once that it should take: of those that are built the one for the next larger number, or else
            for the largest.
        flavour: Loads it.
        gpus: Of this machine; the first one runs it.

    Raises:
        BackendError: There is no GPU to compare a plan with, and plain TensorRT has no portable ones.
        BundleError: The bundle does not hold the model in that precision.
        PlanError: There is no such plan, it was built for something else, or it is altered.
    """
    wanted = choose_lowering(ops, flavour)
    # A plan with plugins is of use where `auto` builds such plans: there is their library.
    forms = [each for each in LOWERINGS if each in (wanted, "kernel", "graph")] if ops == "auto" else [wanted]
    targets = runnable_targets(flavour, gpus)
    if not targets:
        raise BackendError(
            f"{flavour} runs plans on the GPU they were built on, and there is no NVIDIA GPU here that it supports. "
            "Use --backend onnxruntime."
        )
    batches = sorted(built_batches(bundle, model), key=lambda built: (built < batch, abs(built - batch)))
    identities = [
        PlanIdentity.of(bundle, model, precision, target, flavour, form, built)
        for form in forms
        for target in targets
        for built in batches
    ]
    there = [identity for identity in identities if os.path.isdir(bundle.plans / identity.folder)]
    if not there:  # the error tells what to build
        there = [PlanIdentity.of(bundle, model, precision, targets[0], flavour, wanted, batch)]
    plan = find_plan(bundle, there[0])
    _require_tensors(plan, bundle.model(model))
    return plan


def _require_tensors(plan: Plan, model: Model) -> None:
    """A plan takes and gives what the manifest says."""
    record, batch = plan.record, plan.record.identity.batch
    pairs = [("inputs", record.inputs, model.inputs), ("outputs", record.outputs, model.outputs)]
    for kind, found, described in pairs:
        expected = at_batch(described, batch)
        if found != expected:
            was, should = (", ".join(f"{name} {spec}" for name, spec in each.items()) for each in (found, expected))
            raise PlanError(
                f"The plan {plan.folder} is not of the model the manifest describes: its {kind} are {was}, expected "
                f"are {should}. Export the bundle again, then build its plans again."
            )


def open_engine(
    bundle: Bundle,
    model: str,
    precision: str,
    *,
    ops: LoweringChoice = "auto",
    batch: int = 1,
    device: DeviceLayer | None = None,
) -> LoadedPlan:
    """Find, verify and load the plan this machine runs.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.
        ops: See `usable_plan`.
        batch: Likewise.
        device: Where it runs; None means the first GPU.

    Raises:
        BackendError: There is no TensorRT or GPU here, or TensorRT refuses the plan.
        BundleError: The bundle does not hold the model in that precision.
        PlanError: See `usable_plan`.
    """
    gpus = find_gpus()
    flavour = require_flavour(gpus[0] if gpus else None)
    plan = usable_plan(bundle, model, precision, ops, batch, flavour=flavour, gpus=gpus)
    return load_plan(plan, flavour, device or _first_gpu(), gpus[0] if gpus else None)


def load_plan(plan: Plan, flavour: Flavour, device: DeviceLayer, gpu: Gpu | None = None) -> LoadedPlan:
    """Load a plan: one engine, or a chain of engines and kernels.

    Args:
        plan: One whose identity and checksums have been verified (`mgts_trt.plans.plan.find_plan`).
        flavour: Loads it.
        device: Where it runs.
        gpu: What runs it, as far as known.

    Raises:
        BackendError: TensorRT refuses it, there is no kernel for an operator, or no library of plugins for a plan that
            needs it.
        PlanError: Its constants cannot be read.
    """
    chain = plan.record.chain
    if plan.record.identity.lowering == "plugin":
        require_plugins(flavour)
    engines: list[Engine] = []
    try:
        kernels = [kernel_of(step) for step in chain.operators]
        for step in chain.engines:
            engines.append(Engine(plan, step, flavour, device, gpu))
        # Most plans are one engine, and need nothing around it.
        return (
            EngineChain(plan, engines, kernels, load_constants(plan.folder, chain), device) if kernels else engines[0]
        )
    except BaseException:
        for engine in engines:
            engine.close()
        raise


@cache
def _first_gpu() -> DeviceLayer:
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    return CudaDevice(0)


def runnable_targets(flavour: Flavour, gpus: Sequence[Gpu]) -> list[str]:
    """Targets whose plans the first GPU runs, best first; without a GPU, what does not depend on one."""
    portable = [PORTABLE] if PORTABLE in flavour.targets else []
    if not gpus:
        return portable
    sm = gpus[0].sm
    own = [sm] if sm in flavour.targets or CURRENT in flavour.targets else []
    return own + [target for target in portable if runs_on(target, sm)]


def load_engines(
    bundle: Bundle, models: Sequence[str], precision: str, ops: LoweringChoice = "auto", batch: int = 1
) -> tuple[Gpu, dict[str, LoadedPlan]]:
    """The plans of these models, loaded: TensorRT can run them here.

    Args:
        bundle: An opened bundle.
        models: Names of the models wanted.
        precision: One of their precisions.
        ops: See `usable_plan`.
        batch: Likewise.

    Returns:
        The GPU they are on, and the engines by model.

    Raises:
        MgtsError: It cannot; the message is the first reason why, in one sentence.
    """
    gpus = find_gpus()
    gpu = gpus[0] if gpus else None
    flavour = find_flavour(gpu=gpu)
    if flavour is None:
        raise BackendError(why_no_flavour(gpu))
    if not gpus:
        raise BackendError(f"{flavour} is installed, but no NVIDIA GPU was found.")
    if not plan_folders(bundle):
        raise BackendError(f"There are no plans for this bundle; build them with `{build_command(bundle.root)}`.")
    # All plans are verified before the first is loaded, and none a second time before its turn. What can happen to one
    # in between does no harm: a build replaces the folder as a whole, by a plan of the same identity. Someone who
    # changes the file in place could change its checksum with it, at any time.
    plans = {model: usable_plan(bundle, model, precision, ops, batch, flavour=flavour, gpus=gpus) for model in models}
    engines: dict[str, LoadedPlan] = {}
    try:
        for model, plan in plans.items():
            engines[model] = load_plan(plan, flavour, _first_gpu(), gpus[0])
    except MgtsError:
        for engine in engines.values():
            engine.close()
        raise
    return gpus[0], engines


class TensorRTSession:
    """See `mgts_trt.runtime.session.base.Session`.

    Host arrays go through pinned memory; runs in several threads take turns.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.
        ops: See `usable_plan`.
        engine: The model's plan, loaded, which stays open when the session is closed; None means that it is opened
            here.

    Raises:
        BackendError: TensorRT cannot run the plan; see `open_engine`.
        BundleError: The bundle does not hold the model in that precision.
        PlanError: See `usable_plan`.
    """

    backend = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        model: str,
        precision: str,
        *,
        ops: LoweringChoice = "auto",
        engine: LoadedPlan | None = None,
    ) -> None:
        self.model, self.precision = model, precision
        self._owns_engine = engine is None
        self.engine = engine or open_engine(bundle, model, precision, ops=ops)
        self.inputs, self.outputs = self.engine.inputs, self.engine.outputs
        self._lock = threading.Lock()
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        device = self.engine.device
        self._stream = device.stream()
        self._context = self.engine.create_context()
        self.engine.save_cache()
        workspace = device.allocate(self.engine.workspace_bytes, self._stream)
        self._context.set_workspace(workspace.pointer, workspace.size)
        self._workspace = workspace
        self._tensors: dict[str, tuple[DeviceArray, PinnedArray]] = {}
        for name, spec in {**self.inputs, **self.outputs}.items():
            shape = self._largest(spec)
            array = device.array(shape, spec.dtype, self._stream)
            self._tensors[name] = (array, device.pinned(shape, spec.dtype))
            self._context.bind(name, array.pointer)
        self._closed = False

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session.run`."""
        check_arrays(f"inputs of {self.model}", self.inputs, inputs)
        with self._lock:
            if self._closed:
                raise BackendError(f"The session of {self.model} is closed; open a new one.")
            try:
                return self._run(inputs)
            except BaseException:
                # What was queued before it failed still reads the staging memory that the next run writes.
                with suppress(BackendError):
                    self._stream.synchronize()
                raise

    def close(self) -> None:
        """See `Session.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._stream.synchronize()
            self._context.close()
            for _, pinned in self._tensors.values():
                pinned.buffer.free()
            self._tensors.clear()
            self._workspace.free(self._stream)
            if self._owns_engine:
                self.engine.close()

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        device, stream = self.engine.device, self._stream
        for name, array in inputs.items():
            on_device, on_host = self._tensors[name]
            self._set_shape(name, array)
            rows = len(array)
            staged = on_host.rows(0, rows)
            np.copyto(staged.array, array)
            device.copy(on_device.rows(0, rows), staged, stream)
        self._context.enqueue(stream)
        staging: dict[str, PinnedArray] = {}
        for name in self.outputs:
            on_device, on_host = self._tensors[name]
            rows = self._context.shape(name)[0]
            staging[name] = on_host.rows(0, rows)
            device.copy(staging[name], on_device.rows(0, rows), stream)
        stream.synchronize()
        if (shapes := tuple(array.shape for array in inputs.values())) not in self._seen:
            # TensorRT-RTX compiles for each new shape.
            self._seen.add(shapes)
            self.engine.save_cache()
        return {name: staged.array.copy() for name, staged in staging.items()}

    def _set_shape(self, name: str, array: Array) -> None:
        if self.inputs[name].symbols:
            self._context.set_shape(name, array.shape)

    def _largest(self, spec: TensorSpec) -> tuple[int, ...]:
        """The largest shape the profile admits."""
        return spec.sized({symbol: bounds.max for symbol, bounds in self.engine.profile.items()})
