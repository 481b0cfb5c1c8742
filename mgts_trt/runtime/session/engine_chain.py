"""A plan that is a chain of engines and kernels: everything it queues runs in order on one stream.

What passes between the steps lies in the workspace that a context is lent, beside the engines' own workspaces and the
kernels' scratch: each has its place for as long as steps need it (`mgts_trt.runtime.session.workspace_layout`). So a
chain is run, and captured in a CUDA graph, as one engine is.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.tensors import check_arrays
from mgts_trt.errors import BackendError
from mgts_trt.plans.chain import EngineStep
from mgts_trt.plans.plan import Plan
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.operators.operator_kernel import Operand, OperatorKernel
from mgts_trt.runtime.session.base import ExecutionContext, LoadedPlan
from mgts_trt.runtime.session.checked_context import ALIGNMENT, CheckedContext
from mgts_trt.runtime.session.workspace_layout import Layout, Room, lay_out

Sizes: TypeAlias = Mapping[str, int]
"""Of the dimensions that have names."""


class EngineChain(LoadedPlan):
    """See above, and `mgts_trt.runtime.session.base.LoadedPlan`.

    Args:
        plan: Its record has the chain.
        engines: Those of the chain, in its order.
        kernels: Of the chain's operators, likewise.
        constants: Name → array of the chain's. They are uploaded once, for all contexts.
        device: Where it runs.

    Raises:
        BackendError: A step reads what no step before it writes, the constants are not the chain's, or a kernel cannot
            do the tensors that it is given.
    """

    def __init__(
        self,
        plan: Plan,
        engines: Sequence[LoadedPlan],
        kernels: Sequence[OperatorKernel],
        constants: Mapping[str, Array],
        device: DeviceLayer,
    ) -> None:
        chain = plan.record.chain
        self.record, self.folder, self.device = plan.record, plan.folder, device
        self.inputs, self.outputs, self.profile = plan.record.inputs, plan.record.outputs, plan.record.profile
        self.chain, self.engines, self.kernels = chain, tuple(engines), tuple(kernels)
        check_arrays(f"constants of {plan.folder}", {name: chain.tensors[name] for name in chain.constants}, constants)
        self._spans = self._lifetimes()
        sizes = {name: each.max for name, each in self.profile.items()}
        self.largest = self.lay_out(sizes, [engine.workspace_bytes for engine in engines])
        """Has room for a run of any size."""
        self.workspace_bytes = self.largest.size
        self._lock = threading.Lock()
        self._contexts, self._closed = 0, False
        self._stream = device.stream()
        self.weights_bytes = sum(engine.weights_bytes for engine in engines)
        self.weights_bytes += sum(array.nbytes for array in constants.values())
        self.constants = self._upload(constants)

    @property
    def closed(self) -> bool:
        """See `LoadedPlan.closed`."""
        return self._closed

    @property
    def has_cache(self) -> bool:
        """See `LoadedPlan.has_cache`."""
        return any(engine.has_cache for engine in self.engines)

    def create_context(self) -> "ChainContext":
        """See `LoadedPlan.create_context`."""
        with self._lock:
            if self._closed:
                raise BackendError(f"The plan of {self.record.identity.model} is closed; open the bundle again.")
            self._contexts += 1
        contexts: list[ExecutionContext] = []
        try:
            for engine in self.engines:
                contexts.append(engine.create_context())
        except BaseException:
            for context in contexts:
                context.close()
            self.forget_context()
            raise
        return ChainContext(self, contexts)

    def forget_context(self) -> None:
        """A context was closed."""
        with self._lock:
            self._contexts -= 1
        self._free()

    def save_cache(self) -> None:
        """See `LoadedPlan.save_cache`."""
        for engine in self.engines:
            engine.save_cache()

    def close(self) -> None:
        """See `LoadedPlan.close`."""
        with self._lock:
            self._closed = True
        for engine in self.engines:
            engine.close()
        self._free()

    def operand(self, name: str, sizes: Sizes, address: int = 0) -> Operand:
        """A tensor of the chain, as a kernel takes it."""
        spec = self.chain.tensors[name]
        return Operand(Pointer(address), spec.dtype, spec.sized(sizes))

    def lay_out(self, sizes: Sizes, workspaces: Sequence[int]) -> Layout[str | int]:
        """Where things lie in a workspace: tensors by name, and by step what that needs for itself.

        Args:
            sizes: Of the dimensions with names.
            workspaces: What each engine needs, bytes.

        Raises:
            BackendError: A kernel cannot do inputs of these types and sizes.
        """
        rooms: list[Room[str | int]] = []
        of_engines, kernels = iter(workspaces), iter(self.kernels)
        for number, step in enumerate(self.chain.steps):
            if isinstance(step, EngineStep):
                size = next(of_engines)
            else:
                size = next(kernels).scratch_bytes([self.operand(name, sizes) for name in step.inputs])
            rooms.append(Room(number, size, number, number))
        for name, (first, last) in self._spans.items():
            spec = self.chain.tensors[name]
            size = math.prod(spec.sized(sizes)) * np.dtype(spec.dtype).itemsize
            rooms.append(Room(name, max(size, 1), first, last))
        return lay_out(rooms, ALIGNMENT)

    def _lifetimes(self) -> dict[str, tuple[int, int]]:
        """Tensor that passes between steps → the step that writes it, and the last that reads it."""
        spans: dict[str, tuple[int, int]] = {}
        known = {*self.inputs, *self.chain.constants}
        dimensions = set[str]().union(*(spec.symbols for spec in self.inputs.values()))
        for number, step in enumerate(self.chain.steps):
            for name in step.inputs:
                if name not in known:
                    raise self._broken(f"step {number + 1} reads {name}, which is not there by then")
                if name in spans:
                    spans[name] = spans[name][0], number
            for name in step.outputs:
                if name in known:
                    raise self._broken(f"step {number + 1} writes {name}, which is there already")
                if foreign := self.chain.tensors[name].symbols - dimensions:
                    raise self._broken(f"{name} has a dimension {min(foreign)}, which no input has")
                known.add(name)
                if name not in self.outputs:
                    spans[name] = number, number
        for name, spec in {**self.inputs, **self.outputs}.items():
            if name not in known or self.chain.tensors.get(name, spec) != spec:
                raise self._broken(f"it has no {name} {spec}")
        return spans

    def _broken(self, why: str) -> BackendError:
        return BackendError(f"The plan {self.folder} is no chain: {why}. Build it again.")

    def _upload(self, constants: Mapping[str, Array]) -> dict[str, DeviceArray]:
        self.device.make_current()
        uploaded = {}
        for name, array in constants.items():
            uploaded[name] = self.device.array(array.shape, array.dtype, self._stream)
            self.device.copy(uploaded[name], np.ascontiguousarray(array), self._stream)
        # All contexts read them, on streams of their own.
        self._stream.synchronize()
        return uploaded

    def _free(self) -> None:
        """Free the constants, once nobody needs them."""
        with self._lock:
            if not self._closed or self._contexts:
                return
            constants, self.constants = self.constants, {}
        with suppress(BackendError):  # a device that has failed refuses
            for array in constants.values():
                array.owner.free(self._stream)
            self._stream.synchronize()


class ChainContext(CheckedContext):
    """See `mgts_trt.runtime.session.base.ExecutionContext`; made by `EngineChain.create_context`."""

    def __init__(self, chain: EngineChain, contexts: Sequence[ExecutionContext]) -> None:
        super().__init__(chain.record.identity.model, chain.inputs, chain.outputs, chain.profile)
        self._chain = chain
        self._contexts: Sequence[ExecutionContext] | None = contexts
        self._shapes = {name: spec.sized({}) for name, spec in self.inputs.items() if name not in self._unsized}
        self._addresses: dict[str | int, int] = {name: array.pointer for name, array in chain.constants.items()}
        self._workspace = 0
        self._fitted: tuple[Sizes, Layout[str | int]] | None = None
        self._told: Sizes | None = None
        self._work: list[Launch | ExecutionContext] = []
        """What a run queues; nothing while it has to be found out again."""

    @property
    def workspace_bytes(self) -> int:
        """See `ExecutionContext.workspace_bytes`."""
        return self._chain.workspace_bytes if self._fitted is None else self._fitted[1].size

    def fit_workspace(self) -> int:
        """See `ExecutionContext.fit_workspace`."""
        sizes = self._sizes()
        self._set_shapes(sizes)
        needs = [context.fit_workspace() for context in self._live()]
        self._fitted = sizes, self._chain.lay_out(sizes, needs)
        self._lent, self._work = False, []
        return self.workspace_bytes

    def shape(self, name: str) -> tuple[int, ...]:
        """See `ExecutionContext.shape`."""
        spec = self._spec(name)
        if name in self._shapes:
            return self._shapes[name]
        if self._unsized and spec.symbols:
            raise self._open(name)
        return spec.sized(self._sizes())

    def capturable(self, stream: Stream) -> bool:
        """See `ExecutionContext.capturable`."""
        return all(context.capturable(stream) for context in self._live())

    def close(self) -> None:
        """See `ExecutionContext.close`."""
        if self._contexts is None:
            return
        for context in self._contexts:
            context.close()
        self._contexts, self._work = None, []
        self._chain.forget_context()

    def _lend(self, pointer: int, size: int) -> None:
        self._workspace, self._work = pointer, []

    def _resize(self, name: str, shape: tuple[int, ...]) -> None:
        self._shapes[name], self._work = shape, []

    def _address(self, name: str, pointer: int) -> None:
        if pointer % ALIGNMENT and any(name in (*step.inputs, *step.outputs) for step in self._chain.chain.operators):
            raise BackendError(
                f"{self._model}: {name} cannot lie at {pointer:#x}; the kernel that uses it needs an address aligned "
                f"to {ALIGNMENT}."
            )
        self._addresses[name], self._work = pointer, []

    def _run(self, stream: Stream) -> None:
        self._work = self._work or self._prepare()
        for each in self._work:
            if isinstance(each, Launch):
                self._chain.device.launch(each, stream)
            else:
                each.enqueue(stream)

    def _prepare(self) -> list[Launch | ExecutionContext]:
        """Tell each step where its tensors lie; what a run then queues."""
        chain, sizes = self._chain, self._sizes()
        fitted, layout = self._fitted or (sizes, chain.largest)
        if fitted != sizes:
            raise BackendError(f"{self._model}: the workspace was fitted to other shapes than are set; fit it again.")
        self._set_shapes(sizes)
        addresses: dict[str | int, int] = {key: self._workspace + offset for key, offset in layout.offsets.items()}
        addresses |= self._addresses
        work: list[Launch | ExecutionContext] = []
        contexts, kernels = iter(self._live()), iter(chain.kernels)
        for number, step in enumerate(chain.chain.steps):
            if isinstance(step, EngineStep):
                context = next(contexts)
                for name in (*step.inputs, *step.outputs):
                    context.bind(name, addresses[name])
                context.set_workspace(addresses[number], context.workspace_bytes)
                work.append(context)
            else:
                inputs, outputs = (
                    [chain.operand(name, sizes, addresses[name]) for name in names]
                    for names in (step.inputs, step.outputs)
                )
                work += next(kernels).launches(inputs, outputs, Pointer(addresses[number]))
        return work

    def _sizes(self) -> Sizes:
        """Of the dimensions that have names, by the inputs' shapes."""
        sizes: dict[str, int] = {}
        for name, spec in self.inputs.items():
            if name in self._unsized:
                raise self._open(name)
            for dimension, size in zip(spec.shape, self._shapes[name], strict=True):
                if isinstance(dimension, str) and sizes.setdefault(dimension, size) != size:
                    raise BackendError(
                        f"{self._model}: {dimension} is {size} in {name}, and {sizes[dimension]} in another input."
                    )
        return sizes

    def _set_shapes(self, sizes: Sizes) -> None:
        if sizes == self._told:
            return
        self._told = None
        for context in self._live():
            for name, spec in context.inputs.items():
                if spec.symbols:
                    context.set_shape(name, spec.sized(sizes))
        self._told = sizes

    def _live(self) -> Sequence[ExecutionContext]:
        if self._contexts is None:
            raise self._closed()
        return self._contexts
