"""Re-ID on one slot: patches to embeddings, on the smallest batch that holds the people."""

from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.engines import Shared, Workspace, sized
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.memory import Arena
from mgts_trt.runtime.session.base import ExecutionContext


class ReId:
    """MGTS or IDNet, with a context for each batch size met so far.

    Its buffers hold the largest batch met so far: most pictures have few people, and 64 pairs of patches of the paper's
    size are 50 MB.

    Args:
        shared: See there.
        workspace: Of the same stream.
        arena: Holds the buffers.
        graphs: Of the stream.
        stream: Runs it.
    """

    def __init__(self, shared: Shared, workspace: Workspace, arena: Arena, graphs: Graphs, stream: Stream) -> None:
        self._shared, self._workspace, self._arena = shared, workspace, arena
        self._graphs, self._stream = graphs, stream
        self._engine = shared.engines[shared.reid]
        self._sizes = shared.batches
        self._contexts: dict[int, ExecutionContext] = {}
        self._new: set[int] = set()
        self._arrays = self._place(self._sizes[0])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batches it runs in, ascending."""
        return self._sizes

    @property
    def largest(self) -> int:
        """People of the largest batch."""
        return self._sizes[-1]

    def batch(self, people: int) -> int:
        """The batch that `people`, at most `largest`, are run in."""
        return next(size for size in self._sizes if size >= people)

    def inputs(self, batch: int) -> dict[str, DeviceArray]:
        """Where the patches go before `enqueue`: [places, 3, H, W] each, places at least `batch`.

        Addresses hold until a larger batch is asked for.
        """
        if batch > self._arrays["embedding"].shape[0]:
            self._grow(batch)
        return {name: self._arrays[name] for name in self._engine.inputs}

    def enqueue(self, batch: int) -> DeviceArray:
        """Queue one run on what `inputs(batch)` holds.

        Returns:
            The embeddings, float32 [batch, d], until the next run.
        """
        context = self._context(batch)
        addresses = (self._workspace.pointer, *(array.pointer for array in self._arrays.values()))
        self._graphs.run(
            self._shared.reid,
            batch,
            addresses,
            lambda: context.enqueue(self._stream),
            capturable=lambda: context.capturable(self._stream),
        )
        return self._arrays["embedding"].rows(0, batch)

    def settle(self) -> None:
        """Once runs are done: have kept what TensorRT-RTX compiled for batches that ran for the first time."""
        if self._new:
            self._new.clear()
            self._shared.keeper.keep(self._engine)

    def close(self) -> None:
        """Free the contexts, none of which may be running."""
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()

    def _grow(self, places: int) -> None:
        """Move to larger buffers, and the contexts with them."""
        for array in self._arrays.values():
            self._arena.free(array)
        self._arrays = self._place(places)
        for context in self._contexts.values():
            self._bind(context)

    def _place(self, places: int) -> dict[str, DeviceArray]:
        """Inputs and outputs for `places` people."""
        return {
            # Zero, so that the rows beyond the people are numbers.
            name: self._arena.array(sized(spec, places), spec.dtype, self._stream, zero=True)
            for name, spec in {**self._engine.inputs, **self._engine.outputs}.items()
        }

    def _context(self, batch: int) -> ExecutionContext:
        if batch not in self._contexts:
            context = self._shared.create_context(self._shared.reid)
            self._shared.fit(context, batch)
            self._workspace.lend(context)
            self._bind(context)
            self._contexts[batch] = context
            self._new.add(batch)
        return self._contexts[batch]

    def _bind(self, context: ExecutionContext) -> None:
        for name, array in self._arrays.items():
            context.bind(name, array.pointer)
