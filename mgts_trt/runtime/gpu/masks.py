"""The mask net and the instance maps, on a stream beside the detector's."""

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.streams import Event
from mgts_trt.runtime.gpu import kernels
from mgts_trt.runtime.gpu.engines import BatchEngine, Shared, Workspace
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.memory import Arena, at
from mgts_trt.runtime.gpu.timing import StageTimer


class Segmenter:
    """From canvases to instance maps, and their copy to the host.

    Args:
        shared: See there.
        canvases: uint8 [B, Hc, Wc, 3].
        arena: Holds the buffers.

    Attributes:
        stream: Runs it.
        timer: Of its stages.
        instance_maps: uint16 [B, Hc, Wc].
        rows: K, the most instances of a picture.

    Raises:
        BackendError: The mask net has more rows than the kernels hold.
    """

    def __init__(self, shared: Shared, canvases: DeviceArray, arena: Arena) -> None:
        self._device, manifest = shared.device, shared.manifest
        self.stream = stream = self._device.stream()
        self.timer = StageTimer(self._device, stream)
        self._graphs = Graphs(self._device, stream, shared.policy)
        workspace = Workspace.of(shared, ("masknet",), arena, stream)
        self._engine = BatchEngine.on_canvases(shared, "masknet", canvases, workspace, arena, self._graphs, stream)
        self._maps = arena.mirrored((canvases.shape[0], *manifest.canvas), "uint16", stream)
        self.instance_maps = self._maps.device
        self._copied = self._device.event()
        boxes, scores, masks = (self._engine.arrays[name] for name in ("boxes", "scores", "masks"))
        self.rows = masks.shape[1]
        self._paint = [
            kernels.paint_instances(
                manifest.canvas,
                at(boxes, place),
                at(scores, place),
                at(masks, place),
                self.rows,
                masks.shape[2],
                score_threshold=manifest.thresholds.instance,
                mask_threshold=manifest.thresholds.mask,
                instance_map=at(self.instance_maps, place),
            )
            for place in range(canvases.shape[0])
        ]

    def enqueue(self, canvases_ready: Event, pictures: int, batch: int) -> tuple[Event, Event]:
        """Queue everything.

        Args:
            canvases_ready: The canvases are drawn.
            pictures: Those whose maps are wanted, the first ones.
            batch: That they are run in.

        Returns:
            When the instance maps are painted, and when they are on the host.
        """
        self.stream.wait(canvases_ready)
        self.timer.start()
        self._engine.enqueue(batch)
        self.timer.mark("masknet")
        for launch in self._paint[:pictures]:
            self._device.launch(launch, self.stream)
        painted = self.timer.mark("separate")
        # Behind the mark: re-ID goes on meanwhile.
        self._maps.download(self._device, self.stream, pictures)
        return painted, self.stream.record(self._copied)

    def read(self, place: int) -> Array:
        """A picture's instance map on the host, uint16 [Hc, Wc], a copy."""
        on_host: Array = self._maps.host.rows(place, place + 1).array[0]
        return on_host.copy()

    def settle(self) -> None:
        """See `BatchEngine.settle`."""
        self._engine.settle()

    def close(self) -> None:
        """Free graphs and contexts, once the stream is empty."""
        self._graphs.close()
        self._engine.close()
