"""Work that is queued again and again: plainly the first time, then recorded, from then on as a CUDA graph.

What is captured is a plan's run, its operators' kernels included: hundreds of launches become one. The kernels between
the plans depend on the picture's size or on how many people are in it, and are one launch each.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.device import DeviceLayer, Graph, GraphRefusal
from mgts_trt.runtime.cuda.streams import Stream

_log = logging.getLogger(__name__)

LONGEST_WAIT = 1024
"""Runs that pass at most before a capture that failed is tried again; 2 after the first failure, then 4, 8, …"""


class GraphPolicy:
    """Whether the work of a pipeline is captured.

    Work whose capture fails is launched plainly, and tried again after ever more runs: what refuses today (memory,
    another library's synchronisation) need not refuse for good, and a captured shape is worth another attempt.

    Args:
        enabled: False: nothing is.

    Attributes:
        refusals: Work (`"mgts, 8 rows"`) → how often its capture failed, and why at last. It grows as that happens.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._refusals: dict[str, GraphRefusal] = {}
        self.refusals: Mapping[str, GraphRefusal] = MappingProxyType(self._refusals)
        self._wait: dict[str, int] = {}
        self._lock = threading.Lock()

    def due(self, work: str) -> bool:
        """Whether a capture is to be tried at this run; runs that are passed over are counted."""
        with self._lock:
            left = self._wait.get(work, 0)
            if left:
                self._wait[work] = left - 1
            return not left

    def refuse(self, work: str, reason: str) -> None:
        """Note that a capture failed; said in the log once for each work."""
        with self._lock:
            times = self._refusals[work].times + 1 if work in self._refusals else 1
            self._refusals[work] = GraphRefusal(times, reason)
            self._wait[work] = min(2**times, LONGEST_WAIT)
        if times == 1:
            _log.warning("%s: launched without a CUDA graph for now, which is slower: %s", work, reason)


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

    def run(
        self,
        model: str,
        batch: int,
        addresses: tuple[int, ...],
        work: Callable[[], None],
        *,
        capturable: Callable[[], bool] = lambda: True,
    ) -> None:
        """Queue `work` on the stream, as a graph from the second time on.

        Args:
            model: Whose work it is; with `batch` it names the work.
            batch: Rows it is done for.
            addresses: Of all buffers it uses. Where one has moved, the old graph is of no use, and it begins anew.
            work: Queues it. What it queues depends on nothing but the names and addresses.
            capturable: Asked before each capture, of what can tell without trying.

        Raises:
            BackendError: `work` fails outside a capture, or the graph cannot be launched. No graph is in use then.
        """
        if not self._policy.enabled:
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
            name = f"{model}, {batch} row{'s' * (batch != 1)}"
            recorded.graph = self._capture(name, work, capturable) if self._policy.due(name) else None
            if recorded.graph is None:
                work()
                return
        recorded.graph.launch(self._stream)

    def _capture(self, name: str, work: Callable[[], None], capturable: Callable[[], bool]) -> Graph | None:
        """The graph of `work`; None, and nothing queued, if it cannot be had now."""
        try:
            if not capturable():
                raise BackendError("TensorRT says that this run cannot be captured.")
            with self._device.capture(self._stream) as capture:
                work()
            return capture.graph
        except BackendError as error:
            self._policy.refuse(name, str(error))
            return None

    def close(self) -> None:
        """Free all graphs, none of which may be running."""
        for recorded in self._recorded.values():
            if recorded.graph is not None:
                recorded.graph.close()
        self._recorded.clear()
