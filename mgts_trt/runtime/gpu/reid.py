"""Re-ID on one slot: patches to embeddings, on the smallest batch that holds the people."""

from collections.abc import Mapping

from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.engines import BatchEngine, Shared, Workspace, sized
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.memory import Arena


class ReId:
    """MGTS or IDNet.

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
        self._arena, self._stream, self.sizes = arena, stream, shared.people
        self._plan = shared.engines[shared.reid]
        self._engine = BatchEngine(shared, shared.reid, self._place(self.sizes[0]), workspace, graphs, stream)

    @property
    def largest(self) -> int:
        """People of the largest batch."""
        return self.sizes[-1]

    def batch(self, people: int) -> int:
        """The batch that `people`, at most `largest`, are run in."""
        return next(size for size in self.sizes if size >= people)

    def inputs(self, batch: int) -> Mapping[str, DeviceArray]:
        """Where the patches go before `enqueue`: [places, 3, H, W] each, places at least `batch`.

        Addresses hold until a larger batch is asked for.
        """
        if batch > self._engine.arrays["embedding"].shape[0]:
            for array in self._engine.arrays.values():
                self._arena.free(array)
            self._engine.move(self._place(batch))
        return {name: self._engine.arrays[name] for name in self._plan.inputs}

    def enqueue(self, batch: int) -> DeviceArray:
        """Queue one run on what `inputs(batch)` holds.

        Returns:
            The embeddings, float32 [batch, d], until the next run.
        """
        self._engine.enqueue(batch)
        return self._engine.arrays["embedding"].rows(0, batch)

    def settle(self) -> None:
        """See `BatchEngine.settle`."""
        self._engine.settle()

    def close(self) -> None:
        """See `BatchEngine.close`."""
        self._engine.close()

    def _place(self, places: int) -> Mapping[str, DeviceArray]:
        """Inputs and outputs for `places` people."""
        return {
            # Zero, so that the rows beyond the people are numbers.
            name: self._arena.array(sized(spec, places), spec.dtype, self._stream, zero=True)
            for name, spec in {**self._plan.inputs, **self._plan.outputs}.items()
        }
