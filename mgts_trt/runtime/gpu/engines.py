"""Engines on the buffers of one slot."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mgts_trt.bundle.manifest import Manifest
from mgts_trt.bundle.recipe import Profile, batch_sizes
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.choices import Mode
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.graphs import GraphPolicy, Graphs
from mgts_trt.runtime.gpu.keeping import CacheKeeper
from mgts_trt.runtime.gpu.memory import Arena
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.session.base import ExecutionContext, LoadedPlan

_ONE = Profile(min=1, opt=1, max=1)


def sized(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """The shape of a tensor with so many people, or pictures."""
    return spec.sized(dict.fromkeys(spec.symbols, batch))


@dataclass(frozen=True)
class Shared:
    """What all slots of a pipeline share.

    Attributes:
        manifest: The bundle's.
        mode: `none`, `net`, `box` or `joint`.
        engines: The mode's models.
        policy: Whether engines' runs are captured.
        keeper: Told whenever an engine may have compiled something.
        max_people: Most people of one batch of re-ID; None means as many as its plan takes.
        max_pictures: Most pictures of one run of the other networks, if their plans take so many.
    """

    manifest: Manifest
    mode: Mode
    engines: Mapping[str, LoadedPlan]
    policy: GraphPolicy
    keeper: CacheKeeper
    max_people: int | None = None
    max_pictures: int = 1
    _loading: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def device(self) -> DeviceLayer:
        """Where the engines are."""
        return next(iter(self.engines.values())).device

    @property
    def reid(self) -> str:
        """The mode's re-ID model."""
        return MODELS_OF_MODE[self.mode][-1]

    @cached_property
    def people(self) -> tuple[int, ...]:
        """The batches of people that re-ID runs in, ascending; none in mode `joint`, whose network takes pictures."""
        if self._takes_pictures(self.reid):
            return ()
        return _within(self._profile(self.reid), self.max_people)

    @cached_property
    def pictures(self) -> tuple[int, ...]:
        """The batches of pictures that the other networks run in, ascending."""
        taking = [self._profile(model) for model in self.engines if self._takes_pictures(model)]
        least = min(taking, key=lambda each: each.max)
        return _within(least, self.max_pictures)

    @cached_property
    def workspace_bytes(self) -> Mapping[str, int]:
        """Model → workspace it needs at most, bytes; asked of TensorRT where it runs on less than its plan takes."""
        sizes = {}
        for model, engine in self.engines.items():
            sizes[model] = engine.workspace_bytes
            if self._runs_on_less(model):
                context = self.create_context(model)
                try:
                    sizes[model] = max(self.fit(model, context, batch) for batch in self._batches(model))
                finally:
                    context.close()
        return sizes

    def fit(self, model: str, context: ExecutionContext, batch: int) -> int:
        """Set the shapes of one of the model's batches, and return the workspace it then needs, bytes."""
        for name, spec in context.inputs.items():
            if spec.symbols:
                context.set_shape(name, sized(spec, batch))
        return context.fit_workspace() if self._runs_on_less(model) else context.workspace_bytes

    def create_context(self, model: str) -> ExecutionContext:
        """A new execution context of a model; one thread at a time makes one."""
        with self._loading:
            context = self.engines[model].create_context()
        self.keeper.keep(self.engines[model])
        return context

    def _batches(self, model: str) -> tuple[int, ...]:
        return self.pictures if self._takes_pictures(model) else self.people

    def _runs_on_less(self, model: str) -> bool:
        return self._batches(model)[-1] < self._profile(model).max

    def _takes_pictures(self, model: str) -> bool:
        return "image" in self.engines[model].inputs

    def _profile(self, model: str) -> Profile:
        """Of the people or pictures that a plan takes."""
        return self.engines[model].profile.get("B" if self._takes_pictures(model) else "N", _ONE)


def _within(profile: Profile, most: int | None) -> tuple[int, ...]:
    sizes = batch_sizes(profile)
    if most is None or most >= sizes[-1]:
        return sizes
    return (*(size for size in sizes if size < most), max(most, sizes[0]))


@dataclass(frozen=True)
class Workspace:
    """Device memory that the engines of one stream take turns to use."""

    pointer: int
    size: int

    @classmethod
    def of(cls, shared: Shared, models: tuple[str, ...], arena: Arena, stream: Stream) -> "Workspace":
        """Enough for each of `models`."""
        size = max(shared.workspace_bytes[model] for model in models)
        return cls(arena.array((size,), "uint8", stream).pointer, size)

    def lend(self, context: ExecutionContext) -> None:
        """Let a context use it."""
        context.set_workspace(self.pointer, self.size)


class BatchEngine:
    """An engine on arrays of one slot, with a context for each size of batch met so far.

    Args:
        shared: See there.
        model: Which.
        arrays: Of its inputs and outputs, by name, each with rows for the largest batch; the first ones are used.
        workspace: Of the same stream.
        graphs: Of the stream.
        stream: Runs it.

    Attributes:
        arrays: Where it reads and writes.
    """

    def __init__(
        self,
        shared: Shared,
        model: str,
        arrays: Mapping[str, DeviceArray],
        workspace: Workspace,
        graphs: Graphs,
        stream: Stream,
    ) -> None:
        self._shared, self._model, self._workspace = shared, model, workspace
        self._graphs, self._stream = graphs, stream
        self._contexts: dict[int, ExecutionContext] = {}
        self._new: set[int] = set()
        self.arrays = arrays

    @classmethod
    def on_canvases(
        cls,
        shared: Shared,
        model: str,
        canvases: DeviceArray,
        workspace: Workspace,
        arena: Arena,
        graphs: Graphs,
        stream: Stream,
    ) -> "BatchEngine":
        """The detector or the mask net: reads canvases, uint8 [B, Hc, Wc, 3], and writes arrays of its own."""
        outputs = {
            name: arena.array(sized(spec, canvases.shape[0]), spec.dtype, stream)
            for name, spec in shared.engines[model].outputs.items()
        }
        return cls(shared, model, {"image": canvases, **outputs}, workspace, graphs, stream)

    def move(self, arrays: Mapping[str, DeviceArray]) -> None:
        """Use other arrays from now on."""
        self.arrays = arrays
        for context in self._contexts.values():
            self._bind(context)

    def enqueue(self, batch: int) -> None:
        """Queue one run on the first `batch` rows, one of the sizes its model runs in."""
        context = self._context(batch)
        self._graphs.run(
            self._model,
            batch,
            (self._workspace.pointer, *(array.pointer for array in self.arrays.values())),
            lambda: context.enqueue(self._stream),
            capturable=lambda: context.capturable(self._stream),
        )

    def settle(self) -> None:
        """Once runs are done: have kept what TensorRT-RTX compiled for batches that ran for the first time."""
        if self._new:
            self._new.clear()
            self._shared.keeper.keep(self._shared.engines[self._model])

    def close(self) -> None:
        """Free the contexts, none of which may be running."""
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()

    def _context(self, batch: int) -> ExecutionContext:
        if batch not in self._contexts:
            context = self._shared.create_context(self._model)
            self._shared.fit(self._model, context, batch)
            self._workspace.lend(context)
            self._bind(context)
            self._contexts[batch] = context
            self._new.add(batch)
        return self._contexts[batch]

    def _bind(self, context: ExecutionContext) -> None:
        for name, array in self.arrays.items():
            context.bind(name, array.pointer)
