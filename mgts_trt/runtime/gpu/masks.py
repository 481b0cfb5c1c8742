"""The mask net and the instance map, on a stream beside the detector's."""

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.streams import Event
from mgts_trt.runtime.gpu import kernels
from mgts_trt.runtime.gpu.engines import CanvasEngine, Shared, Workspace
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.memory import Arena, at
from mgts_trt.runtime.gpu.timing import StageTimer


class Segmenter:
    """From the canvas to the instance map, and its copy to the host.

    Args:
        shared: See there.
        canvas: uint8 [Hc, Wc, 3].
        arena: Holds the buffers.

    Attributes:
        stream: Runs it.
        timer: Of its stages.
        instance_map: uint16 [Hc, Wc].
        rows: K, the most instances there can be.

    Raises:
        BackendError: The mask net has more rows than the kernels hold.
    """

    def __init__(self, shared: Shared, canvas: DeviceArray, arena: Arena) -> None:
        self._device, manifest = shared.device, shared.manifest
        self.stream = stream = self._device.stream()
        self.timer = StageTimer(self._device, stream)
        self._graphs = Graphs(self._device, stream, shared.policy)
        workspace = Workspace.of(shared, ("masknet",), arena, stream)
        self._engine = CanvasEngine(shared, "masknet", canvas, workspace, arena, self._graphs, stream)
        self._map = arena.mirrored(manifest.canvas, "uint16", stream)
        self.instance_map = self._map.device
        self._copied = self._device.event()
        boxes, scores, masks = (self._engine.outputs[name] for name in ("boxes", "scores", "masks"))
        self.rows = masks.shape[0]
        self._paint = kernels.paint_instances(
            manifest.canvas,
            at(boxes),
            at(scores),
            at(masks),
            self.rows,
            masks.shape[1],
            score_threshold=manifest.thresholds.instance,
            mask_threshold=manifest.thresholds.mask,
            instance_map=at(self.instance_map),
        )

    def enqueue(self, canvas_ready: Event) -> tuple[Event, Event]:
        """Queue everything.

        Args:
            canvas_ready: The canvas is drawn.

        Returns:
            When the instance map is painted, and when it is on the host.
        """
        self.stream.wait(canvas_ready)
        self.timer.start()
        self._engine.enqueue()
        self.timer.mark("masknet")
        self._device.launch(self._paint, self.stream)
        painted = self.timer.mark("separate")
        # Behind the mark: re-ID goes on meanwhile.
        self._map.download(self._device, self.stream)
        return painted, self.stream.record(self._copied)

    def read(self) -> Array:
        """The instance map on the host, uint16 [Hc, Wc], a copy."""
        return self._map.read(self.instance_map.shape[0])

    def close(self) -> None:
        """Free graphs and context, once the stream is empty."""
        self._graphs.close()
        self._engine.close()
