"""Work that is queued again and again: plainly the first time, then recorded, from then on as a CUDA graph.

What is captured is an engine's run, and the fused head behind it: hundreds of launches become one. The kernels between
the engines depend on the picture's size or on how many people are in it, and are one launch each.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.device import DeviceLayer, Graph
from mgts_trt.runtime.cuda.streams import Stream

_log = logging.getLogger(__name__)


class GraphPolicy:
    """Whether the work of a pipeline is captured.

    Args:
        enabled: False: nothing is.

    Attributes:
        refusals: Model → why its runs cannot be captured. They are launched plainly for good.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.refusals: dict[str, str] = {}
        self._lock = threading.Lock()

    def captures(self, model: str) -> bool:
        """Whether a model's runs are to be captured."""
        return self.enabled and model not in self.refusals

    def refuse(self, model: str, reason: str) -> None:
        """Give up capturing a model's runs; said in the log once."""
        with self._lock:
            known = self.refusals.setdefault(model, reason)
        if known is reason:
            _log.warning("The runs of %s are launched without a CUDA graph, which is slower: %s", model, reason)


@dataclass
class _Recorded:
    addresses: tuple[int, ...]
    graph: Graph | None = None


class Graphs:
    """The graphs on one stream.

    Args:
        device: Captures them.
        stream: They are captured and launched on it.
        policy: Shared by all streams of a pipeline.
    """

    def __init__(self, device: DeviceLayer, stream: Stream, policy: GraphPolicy) -> None:
        self._device, self._stream, self._policy = device, stream, policy
        self._recorded: dict[tuple[str, int], _Recorded] = {}

    def run(self, model: str, batch: int, addresses: tuple[int, ...], work: Callable[[], None]) -> None:
        """Queue `work` on the stream, as a graph from the second time on.

        Args:
            model: Whose work it is; with `batch` it names the work.
            batch: Rows it is done for.
            addresses: Of all buffers it uses. Where one has moved, the old graph is of no use, and it begins anew.
            work: Queues it. What it queues depends on nothing but the names and addresses.

        Raises:
            BackendError: `work` fails outside a capture, or the graph cannot be launched. No graph is in use then.
        """
        if not self._policy.captures(model):
            work()
            return
        recorded = self._recorded.get((model, batch))
        if recorded is None or recorded.addresses != addresses:
            # Engines and kernels that run for the first time compile and load, which a capture forbids.
            work()
            if recorded is not None and recorded.graph is not None:
                recorded.graph.close()
            self._recorded[model, batch] = _Recorded(addresses)
            return
        if recorded.graph is None:
            try:
                with self._device.capture(self._stream) as capture:
                    work()
                recorded.graph = capture.graph
            except BackendError as error:
                self._policy.refuse(model, str(error))
                work()
                return
        recorded.graph.launch(self._stream)

    def close(self) -> None:
        """Free all graphs, none of which may be running."""
        for recorded in self._recorded.values():
            if recorded.graph is not None:
                recorded.graph.close()
        self._recorded.clear()
