"""Engines on the buffers of one slot."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mgts_trt.bundle.manifest import Manifest
from mgts_trt.bundle.recipe import batch_sizes
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


def sized(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """The shape of a tensor with so many people."""
    return tuple(batch if isinstance(size, str) else size for size in spec.shape)


@dataclass(frozen=True)
class Shared:
    """What all slots of a pipeline share.

    Attributes:
        manifest: The bundle's.
        mode: `none`, `net` or `box`.
        engines: The mode's models.
        policy: Whether engines' runs are captured.
        keeper: Told whenever an engine may have compiled something.
        max_people: Most people of one batch of re-ID; None means as many as its plan takes.
    """

    manifest: Manifest
    mode: Mode
    engines: Mapping[str, LoadedPlan]
    policy: GraphPolicy
    keeper: CacheKeeper
    max_people: int | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def device(self) -> DeviceLayer:
        """Where the engines are."""
        return self.engines["detector"].device

    @property
    def reid(self) -> str:
        """The mode's re-ID model."""
        return MODELS_OF_MODE[self.mode][-1]

    @cached_property
    def batches(self) -> tuple[int, ...]:
        """The batches re-ID runs in, ascending."""
        sizes = batch_sizes(self.engines[self.reid].profile["N"])
        if self.max_people is None or self.max_people >= sizes[-1]:
            return sizes
        return (*(size for size in sizes if size < self.max_people), max(self.max_people, sizes[0]))

    @cached_property
    def workspace_bytes(self) -> Mapping[str, int]:
        """Model → workspace it needs at most, bytes; asked of TensorRT where re-ID has fewer people than its plan."""
        sizes = {model: engine.workspace_bytes for model, engine in self.engines.items()}
        if self.max_people is not None:
            context = self.create_context(self.reid)
            try:
                sizes[self.reid] = max(self.fit(context, batch) for batch in self.batches)
            finally:
                context.close()
        return sizes

    def fit(self, context: ExecutionContext, batch: int) -> int:
        """Set re-ID's shapes, and return the workspace it then needs, bytes."""
        for name, spec in context.inputs.items():
            context.set_shape(name, sized(spec, batch))
        return context.workspace_bytes if self.max_people is None else context.fit_workspace()

    def create_context(self, model: str) -> ExecutionContext:
        """A new execution context of a model; one thread at a time makes one."""
        with self._loading:
            context = self.engines[model].create_context()
        self.keeper.keep(self.engines[model])
        return context


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


class CanvasEngine:
    """The detector or the mask net: reads the canvas, writes arrays of its own, and all sizes are fixed.

    Args:
        shared: See there.
        model: `detector` or `masknet`.
        canvas: uint8 [Hc, Wc, 3].
        workspace: Of the same stream.
        arena: Holds the outputs.
        graphs: Of the stream.
        stream: Runs it.

    Attributes:
        outputs: Name → array, without the batch axis.
    """

    def __init__(
        self,
        shared: Shared,
        model: str,
        canvas: DeviceArray,
        workspace: Workspace,
        arena: Arena,
        graphs: Graphs,
        stream: Stream,
    ) -> None:
        self._model, self._graphs, self._stream = model, graphs, stream
        self._context = context = shared.create_context(model)
        workspace.lend(context)
        # Built for one picture: the first axis is 1.
        self.outputs = {
            name: arena.array(context.shape(name)[1:], spec.dtype, stream) for name, spec in context.outputs.items()
        }
        context.bind("image", canvas.pointer)
        for name, array in self.outputs.items():
            context.bind(name, array.pointer)
        self._addresses = (canvas.pointer, workspace.pointer, *(array.pointer for array in self.outputs.values()))

    def enqueue(self) -> None:
        """Queue one run."""
        context, stream = self._context, self._stream
        self._graphs.run(
            self._model,
            1,
            self._addresses,
            lambda: context.enqueue(stream),
            capturable=lambda: context.capturable(stream),
        )

    def close(self) -> None:
        """Free the context, which must not be running."""
        self._context.close()
