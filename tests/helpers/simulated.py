"""A device on host memory that runs work in any legal order, and finds what a GPU would only rarely show.

Nothing runs before the host waits for it. Then streams advance in a random order (seeded) that keeps each stream's own
order and the events between them. Every access is checked when it is queued, by vector clocks: two streams, or a
stream and the host, that touch the same bytes, one of them writing, with no event or wait that orders them, are a
`RaceError`, whatever order they would have run in.

Addresses are never used twice, so an address that is used after its memory was freed is found too. Memory starts as
0xCD and is 0xDD once freed.
"""

import bisect
import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray, check_alike
from mgts_trt.runtime.cuda.streams import Event, Stream, stream_handle
from tests.helpers.clocks import (
    HOST,
    Access,
    BadAddressError,
    CaptureError,
    Memory,
    Operation,
    SchedulingError,
    Span,
    check_alive,
    join,
    record,
)
from tests.helpers.simulated_graph import SimulatedCapture

_PAGE = 1 << 12


class SimulatedDevice:
    """See `mgts_trt.runtime.cuda.device.DeviceLayer`.

    Kernels are functions in `kernels`, by name; see `kernel`. Engines: see `tests.helpers.simulated_engine`.
    """

    ordinal = 0
    sm = "sm_86"
    context = 0x4000

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.kernels: dict[str, tuple[Callable[..., None], tuple[int, ...], tuple[int, ...], Any]] = {}
        self.lock = threading.RLock()
        self._host: dict[Any, int] = {HOST: 1}
        self._pending: list[Operation] = []
        self._memories: list[Memory] = []
        self._bases: list[int] = []
        self._next = 0x7F00_0000_0000
        self._streams: dict[int, SimulatedStream] = {}
        self._ran = 0
        self._launches = 0
        self._captures: dict[int, SimulatedCapture] = {}
        self._late: list[SchedulingError] = []
        self.available: int | None = None
        self.unfreed = 0

    # What DeviceLayer asks for.

    def available_memory(self) -> int | None:
        return self.available

    def make_current(self) -> None:
        pass

    def stream(self, *, priority: int | None = None) -> "SimulatedStream":
        return self.wrap_stream(0x5000 + 16 * len(self._streams))

    def wrap_stream(self, foreign: Any) -> "SimulatedStream":
        handle = stream_handle(foreign)
        return self._streams.setdefault(handle, SimulatedStream(self, handle))

    def event(self, *, timed: bool = False) -> "SimulatedEvent":
        return SimulatedEvent(self, timed)

    def allocate(self, size: int, stream: Stream) -> "SimulatedBuffer":
        self.refuse_in_capture("allocates")
        memory = self._new("device", size)
        self.submit(stream, "allocate", lambda: None, [Span(memory, 0, size, write=True)])
        return SimulatedBuffer(self, memory, stream)

    def array(self, shape: Sequence[int], dtype: Any, stream: Stream) -> DeviceArray:
        kind = np.dtype(dtype)
        buffer = self.allocate(math.prod(shape) * kind.itemsize, stream)
        return DeviceArray(tuple(shape), kind, buffer.pointer, self, buffer, stream)

    def pinned(self, shape: Sequence[int], dtype: Any) -> PinnedArray:
        self.refuse_in_capture("allocates pinned memory")
        kind = np.dtype(dtype)
        memory = self._new("pinned", math.prod(shape) * kind.itemsize)
        return PinnedArray(tuple(shape), kind, memory.base, SimulatedHostBuffer(self, memory))

    def copy(self, destination: Any, source: Any, stream: Stream) -> None:
        check_alike(destination, source)
        pageable = [array for array in (destination, source) if isinstance(array, np.ndarray)]
        if pageable:
            self.refuse_in_capture("copies from or to pageable memory", stream)
        spans, ends = [], []
        for array, write in ((source, False), (destination, True)):
            if isinstance(array, np.ndarray):
                # Memory the device does not know: a copy of the source is what CUDA takes, too.
                flat = (array if write else array.copy()).reshape(-1).view(np.uint8)
                ends.append(lambda flat=flat: flat)
            else:
                spans.append(self.span(array.pointer, array.nbytes, write=write))
                ends.append(spans[-1].view)
        self.submit(stream, "copy", lambda: np.copyto(ends[1](), ends[0]()), spans)
        if pageable:
            stream.synchronize()

    def fill(self, destination: DeviceArray, byte: int, stream: Stream) -> None:
        span = self.span(destination.pointer, destination.nbytes, write=True)
        self.submit(stream, "fill", lambda: span.view().fill(byte), [span])

    def kernel(
        self,
        name: str,
        function: Callable[..., None],
        *,
        reads: Sequence[int],
        writes: Sequence[int],
        extents: Any = None,
    ) -> None:
        """Register a kernel.

        Args:
            name: Its entry point.
            function: Called with the arguments: a pointer as the bytes from there on (uint8), a null pointer as None.
            reads: Positions of the pointers it reads.
            writes: Positions of the pointers it writes.
            extents: Function of the `Launch` that gives, by position, how many bytes are used there; by default all
                up to the end of the buffer.
        """
        self.kernels[name] = (function, tuple(reads), tuple(writes), extents)

    def launch(self, launch: Any, stream: Stream) -> None:
        if launch.kernel not in self.kernels:
            raise SchedulingError(f"There is no kernel {launch.kernel}; there are {', '.join(self.kernels)}.")
        function, reads, writes, extents = self.kernels[launch.kernel]
        sizes = extents(launch) if extents else {}
        spans: list[Span] = []
        arguments: list[Callable[[], Any]] = []
        for position, argument in enumerate(launch.arguments):
            address = getattr(argument, "address", None)
            if not address:
                arguments.append(lambda value=None if address == 0 else argument: value)
                continue
            if position not in (*reads, *writes):
                raise SchedulingError(
                    f"Argument {position} of {launch.kernel} is a pointer that it neither reads nor writes."
                )
            span = self.span(address, sizes.get(position), write=position in writes)
            spans.append(span)
            arguments.append(span.view)
        self.submit(stream, launch.kernel, lambda: function(*(get() for get in arguments)), spans)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator["SimulatedCapture"]:
        stream = self.wrap_stream(stream)
        if stream.capture is not None:
            raise CaptureError(f"{stream} is captured already.")
        capture = SimulatedCapture(self, stream)
        self._captures[threading.get_ident()] = capture
        capture.admit(stream)
        try:
            yield capture
            capture.end()
        finally:
            del self._captures[threading.get_ident()]
            capture.release()

    def synchronize(self) -> None:
        self.refuse_in_capture("waits for the device")
        self.wait_for([operation for stream in self._streams.values() for operation in stream.tail])

    # How it works.

    def submit(self, stream: Stream, name: str, run: Callable[[], None], spans: Sequence[Span]) -> Operation:
        """Queue `run`, which touches `spans`, on a stream of this device."""
        with self.lock:
            stream = self.wrap_stream(stream)
            for span in spans:
                check_alive(span, name)
            operation = Operation(f"{name} on {stream}", run, spans, stream.tail, stream)
            if stream.capture is not None:
                stream.capture.nodes.append(operation)
            else:
                self._queue(operation)
            stream.tail = [operation]
            return operation

    def submit_graph(self, nodes: Sequence[Operation], stream: "SimulatedStream", after: list[Operation]) -> Operation:
        """Queue a copy of captured nodes; what follows on the stream waits for all of them."""
        with self.lock:
            self._launches += 1
            copies: dict[Operation, Operation] = {}
            for node in nodes:
                for span in node.spans:
                    check_alive(span, f"{node.name}, in a captured graph,")
                inside = [copies[other] for other in node.after if other in copies]
                actor = (self._launches, node.actor)
                copies[node] = Operation(f"{node.name} (graph)", node.run, node.spans, inside or after, actor)
                self._queue(copies[node])
            stream.tail = [*after, *copies.values()]
            return self.submit(stream, "end of graph", lambda: None, [])

    def span(self, pointer: int, nbytes: int | None, *, write: bool) -> Span:
        """The bytes at an address; None means all up to the end of its memory."""
        index = bisect.bisect_right(self._bases, pointer) - 1
        memory = self._memories[index] if index >= 0 else None
        low = pointer - memory.base if memory else 0
        if memory is None or low > memory.data.size or (nbytes is not None and low + nbytes > memory.data.size):
            raise BadAddressError(f"{nbytes} bytes at {pointer:#x} are not all in one memory; the nearest is {memory}.")
        return Span(memory, low, memory.data.size if nbytes is None else low + nbytes, write)

    def host_access(self, span: Span) -> None:
        """The host touches pinned memory: whatever the device does there must be known to be over."""
        with self.lock:
            check_alive(span, HOST)
            self._host[HOST] += 1
            record(Access(span, HOST, HOST, self._host[HOST]), self._host)

    def wait_for(self, operations: Sequence[Operation]) -> None:
        """Run until these are done, and perhaps more; the host then knows it."""
        with self.lock:
            while any(not operation.done for operation in operations):
                self.step()
            for operation in operations:
                join(self._host, operation.clock)
            if self._late:
                raise self._late.pop(0)

    def step(self) -> bool:
        """Run one operation that may run, chosen at random; False if nothing is queued."""
        with self.lock:
            ready = [operation for operation in self._pending if all(other.done for other in operation.after)]
            if not ready:
                return False
            operation = self.random.choice(ready)
            self._pending.remove(operation)
            self._ran += 1
            operation.done, operation.finished = True, self._ran
            operation.after = []
            operation.run()
            return True

    def refuse_in_capture(self, what: str, stream: Stream | None = None) -> None:
        """What CUDA's thread-local capture mode refuses: of this thread, or on a captured stream."""
        captures = [self._captures.get(threading.get_ident()), self.wrap_stream(stream).capture if stream else None]
        for capture in captures:
            if capture is not None:
                capture.invalid = f"The host {what} during the capture of {capture.origin}."
                raise CaptureError(capture.invalid)

    def note(self, mistake: SchedulingError) -> None:
        """Raise it when the host waits next: where it happened nothing can be raised."""
        self._late.append(mistake)

    def _queue(self, operation: Operation) -> None:
        self._host[HOST] += 1
        clock = dict(self._host)
        for other in operation.after:
            join(clock, other.clock)
        clock[operation.actor] = clock.get(operation.actor, 0) + 1
        operation.clock = clock
        for span in operation.spans:
            record(Access(span, operation.name, operation.actor, clock[operation.actor]), clock)
        self._pending.append(operation)

    def _new(self, kind: str, size: int) -> Memory:
        with self.lock:
            memory = Memory(kind, self._next, np.full(size, 0xCD, np.uint8))
            self._memories.append(memory)
            self._bases.append(self._next)
            # An empty page between two memories.
            self._next += (size // _PAGE + 2) * _PAGE
            return memory


class SimulatedStream:
    def __init__(self, device: SimulatedDevice, handle: int) -> None:
        self.device, self.handle = device, handle
        self.tail: list[Operation] = []
        """What the next operation comes after."""
        self.capture: SimulatedCapture | None = None

    def __str__(self) -> str:
        return f"stream {self.handle:#x}"

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def record(self, event: Event | None = None) -> "SimulatedEvent":
        event = event or self.device.event()
        event.operation = self.device.submit(self, "record", lambda: None, [])
        event.capture = self.capture
        return event

    def wait(self, event: Event) -> None:
        with self.device.lock:
            if event.operation is None:
                return
            if event.capture is not None and event.capture.open:
                if self.capture is None:
                    event.capture.admit(self)
                elif self.capture is not event.capture:
                    raise CaptureError(f"{self} is captured, and waits for an event of another capture.")
            elif self.capture is not None:
                self.capture.invalid = f"{self} is captured, and waits for an event recorded outside the capture."
                raise CaptureError(self.capture.invalid)
            elif event.capture is not None:
                raise CaptureError(f"{self} waits for an event that was recorded in a capture, which never runs.")
            self.tail = [*self.tail, event.operation]

    def synchronize(self) -> None:
        self.device.refuse_in_capture(f"waits for {self}", self)
        self.device.wait_for(self.tail)


class SimulatedEvent:
    def __init__(self, device: SimulatedDevice, timed: bool) -> None:
        self.device, self._timed = device, timed
        self.operation: Operation | None = None
        self.capture: SimulatedCapture | None = None

    @property
    def done(self) -> bool:
        self._check_known("asks for an event")
        with self.device.lock:
            # The device goes on meanwhile, or not.
            for _ in range(self.device.random.randrange(3)):
                self.device.step()
            if self.operation is None:
                return True
            if self.operation.done:
                self.device.wait_for([self.operation])
            return self.operation.done

    def synchronize(self) -> None:
        self._check_known("waits for an event")
        self.device.wait_for([self.operation] if self.operation else [])

    def elapsed_ms(self, start: Event) -> float:
        for event in (self, start):
            if not event._timed or event.operation is None or not event.operation.done:
                raise BackendError("Two events made with timed=True, recorded and done, are needed.")
        return float(self.operation.finished - start.operation.finished)

    def _check_known(self, what: str) -> None:
        self.device.refuse_in_capture(what)
        if self.capture is not None:
            raise CaptureError(f"The host {what} that was recorded in a capture.")


class SimulatedBuffer:
    def __init__(self, device: SimulatedDevice, memory: Memory, stream: Stream) -> None:
        self._device, self._memory, self._stream = device, memory, stream
        self.pointer, self.size = memory.base, memory.data.size

    def free(self, stream: Stream | None = None) -> None:
        data, stream = self._memory.data, self._device.wrap_stream(stream or self._stream)
        if stream.capture is not None:
            self._device.refuse_in_capture("frees memory", stream)
        whole = Span(self._memory, 0, data.size, write=True)
        self._device.submit(stream, "free", lambda: data.fill(0xDD), [whole])
        self._memory.freed = True

    def __del__(self) -> None:
        if self._memory.freed:
            return
        try:
            self.free()
        except SchedulingError as mistake:
            self._device.note(mistake)
        self._memory.freed = True


class SimulatedHostBuffer:
    def __init__(self, device: SimulatedDevice, memory: Memory) -> None:
        self._device, self._memory = device, memory
        self.pointer, self.size = memory.base, memory.data.size

    def view(self, offset: int, nbytes: int) -> np.ndarray:
        # Whether the host will read or write is not known, so it must be free to do both.
        span = Span(self._memory, offset, offset + nbytes, write=True)
        self._device.host_access(span)
        return span.view()

    def free(self) -> None:
        if self._memory.freed:
            return
        self._device.refuse_in_capture("frees pinned memory")
        self._device.host_access(Span(self._memory, 0, self._memory.data.size, write=True))
        self._memory.data.fill(0xDD)
        self._memory.freed = True

    def __del__(self) -> None:
        if not self._memory.freed:
            self._device.unfreed += 1
