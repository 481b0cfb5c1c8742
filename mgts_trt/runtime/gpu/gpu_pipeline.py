"""Person search with everything on the GPU: pictures go up, people come down."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

from mgts_trt._typing import Array
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.choices import Mode
from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.runtime.cuda.device import GraphRefusal
from mgts_trt.runtime.gpu.engines import Shared
from mgts_trt.runtime.gpu.graphs import GraphPolicy
from mgts_trt.runtime.gpu.joint_slot import JointSlot
from mgts_trt.runtime.gpu.keeping import CacheKeeper
from mgts_trt.runtime.gpu.memory_plan import MemoryPlan
from mgts_trt.runtime.gpu.pool import SlotPool
from mgts_trt.runtime.gpu.slot import Slot
from mgts_trt.runtime.people import People, given_boxes
from mgts_trt.runtime.session.base import LoadedPlan
from mgts_trt.runtime.stream import Errors, PeopleStream, is_ready

CALLS = 2
"""Batches of pictures that calls from several threads have in flight together. Two keep the GPU busy while the host
stages pictures and reads results; each more costs the memory of a slot."""


class GpuPipeline:
    """See `mgts_trt.runtime.protocol.Pipeline`: the engines, the kernels between them, and the pictures in flight.

    Args:
        manifest: The bundle's.
        mode: `none`, `net`, `box` or `joint`.
        engines: The mode's models, all on one device; they stay open when this is closed.
        graphs: Whether engines' runs are captured in CUDA graphs.
        max_people: See `PersonSearch`.
        pictures_in_flight: See `PersonSearch`; None bounds calls alone, to `CALLS`.
        batch_size: See `PersonSearch`; plans that take fewer pictures bound it.

    Raises:
        BackendError: The pipeline does not fit into the GPU's memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        mode: Mode,
        engines: Mapping[str, LoadedPlan],
        *,
        graphs: bool = True,
        max_people: int | None = None,
        pictures_in_flight: int | None = None,
        batch_size: int = 1,
    ) -> None:
        self._policy = GraphPolicy(graphs)
        self._keeper = CacheKeeper()
        shared = Shared(manifest, mode, engines, self._policy, self._keeper, max_people, batch_size)
        self.memory = MemoryPlan.of(shared, pictures_in_flight or CALLS)
        self.memory.require(shared.device.available_memory())
        self._most, self._batch = pictures_in_flight, shared.pictures[-1]
        kind = JointSlot if mode == "joint" else Slot
        self._pool = SlotPool(lambda: kind(shared), most=pictures_in_flight)
        self._turns = threading.Semaphore(pictures_in_flight or CALLS)
        self._streams: WeakSet[PeopleStream[Any]] = WeakSet()
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def graph_refusals(self) -> Mapping[str, GraphRefusal]:
        """See `Pipeline.graph_refusals`."""
        return self._policy.refusals

    @property
    def memory_plan(self) -> str:
        """See `Pipeline.memory_plan`."""
        return str(self.memory)

    def search(self, image: Any, *, top: int | None = None, stream: Any = None) -> People:
        """See `Pipeline.search`."""
        return self._call(image, lambda slot: slot.detect(top), stream)

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """See `Pipeline.embed`."""
        return self._call(image, lambda slot: slot.place(given_boxes(boxes, slot.letterboxes[0])), stream)

    def batch(self, images: Iterable[Any], *, top: int | None, errors: Errors) -> list[Any]:
        """See `Pipeline.batch`: batch after batch, `CALLS` of them in flight."""
        stream = self._stream(images, CALLS, top, errors, lambda: True)
        try:
            return list(stream)
        finally:
            stream.close()

    def stream(self, images: Iterable[Any], *, depth: int, top: int | None, errors: Errors) -> PeopleStream[Any]:
        """See `Pipeline.stream`."""
        return self._stream(images, depth, top, errors, lambda: is_ready(images))

    def warm_up(self, depth: int, on_progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """See `Pipeline.warm_up`: each of the `depth` slots, on every batch."""
        depth = depth if self._most is None else min(depth, self._most)
        warm: list[Slot] = []
        done = 0
        try:
            # All are held until the end, so that each is another one.
            while len(warm) < depth:
                slot = self._pool.take()
                steps = slot.warm_up()
                try:
                    for _ in steps:
                        done += 1
                        on_progress(done, depth * slot.warm_up_steps)
                        if stop() or self._closing.is_set():
                            break
                except BaseException:
                    self._pool.discard(slot)
                    raise
                warm.append(slot)
                if stop() or self._closing.is_set():
                    return
        finally:
            for slot in warm:
                slot.reset()
                self._pool.give(slot)
        self._keeper.flush()

    def close(self) -> None:
        """See `Pipeline.close`. Ends streams, and waits for calls in other threads."""
        self._closing.set()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.interrupt("This PersonSearch was closed while it was in use; open the bundle again.")
        self._pool.close()
        self._keeper.close()

    def _stream(
        self, images: Iterable[Any], depth: int, top: int | None, errors: Errors, ready: Callable[[], bool]
    ) -> PeopleStream[Any]:
        stream: PeopleStream[Any] = PeopleStream(
            images,
            lambda pictures: self._begin(pictures, lambda slot: slot.detect(top), None),
            depth if self._most is None else min(depth, self._most),
            errors,
            self._batch,
            ready,
        )
        with self._lock:
            self._streams.add(stream)
        return stream

    def _call(self, image: Any, queue: Callable[[Slot], None], stream: Any) -> People:
        with self._turns:
            flight = self._begin([image], queue, stream)
            try:
                flight.wait()
                [people] = flight.take()
            finally:
                flight.abandon()
        if isinstance(people, Exception):
            raise people
        return people

    def _begin(self, images: Sequence[Any], queue: Callable[[Slot], None], stream: Any) -> "Flight":
        """Send pictures off together."""
        flight = Flight(self._pool, len(images))
        try:
            flight.load(images, stream)
            if flight.slot.letterboxes:
                queue(flight.slot)
        except BaseException as error:
            # A picture that is none says nothing about the slot.
            flight.abandon(broken=not isinstance(error, ImageError))
            raise
        return flight


class Flight:
    """Pictures in flight together, in one slot; see `mgts_trt.runtime.stream.Pending`."""

    def __init__(self, pool: SlotPool, pictures: int) -> None:
        self._start = time.perf_counter()
        self._pool, self.pictures, self.slot = pool, pictures, pool.take()
        self._described, self._ended = False, False
        self._error: MgtsError | None = None
        self._refused: list[ImageError | None] = []

    def load(self, images: Sequence[Any], stream: Any) -> None:
        """Queue their way up; what is no picture stays behind."""
        self._refused = self.slot.load(images, stream)
        # With nothing on the way there is nothing to wait for.
        self._described = not self.slot.letterboxes

    def advance(self) -> None:
        """Queue re-ID if the number of people is known. What fails is raised by `wait`."""
        try:
            if not self._described and self._error is None and self.slot.counted:
                self._describe()
        except MgtsError as error:
            self._error = error

    def wait(self) -> None:
        """Let the host wait for the last result."""
        try:
            if self._error is not None:
                raise self._error
            if not self._described:
                self._describe()
            self.slot.wait()
        except BaseException:
            self.abandon(broken=True)
            raise

    def take(self) -> list[People | Exception]:
        """The results, after `wait`; the slot is free then."""
        found = iter(self.slot.people((time.perf_counter() - self._start) * 1e3))
        self.abandon()
        return [next(found) if refused is None else refused for refused in self._refused]

    def abandon(self, *, broken: bool = False) -> None:
        """Wait for the device, and free the slot; if it is `broken`, for good."""
        if self._ended:
            return
        self._ended = True
        if broken:
            self._pool.discard(self.slot)
        else:
            self.slot.reset()
            self._pool.give(self.slot)

    def _describe(self) -> None:
        self.slot.describe()
        self._described = True
