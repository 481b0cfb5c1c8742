"""CUDA's driver, as far as captures go: answers as `cuda.bindings.driver` does, and can refuse each step."""

from types import SimpleNamespace
from typing import Any, NamedTuple


class Code(NamedTuple):
    """A `CUresult`."""

    name: str


SUCCESS = Code("CUDA_SUCCESS")
NONE, ACTIVE, INVALIDATED = "none", "active", "invalidated"


class RefusingDriver:
    """One stream, handle 7, and the graphs captured from it.

    Attributes:
        refuse: Call → the code it fails with.
        state: Of the stream's capture.
        alive: Graphs and executable graphs not yet destroyed.
        launched: Executable graphs, in the order of their launches.
    """

    CUresult = SimpleNamespace(CUDA_SUCCESS=SUCCESS)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")
    CUstreamCaptureStatus = SimpleNamespace(CU_STREAM_CAPTURE_STATUS_NONE=NONE)

    def __init__(self) -> None:
        self.refuse: dict[str, Code] = {}
        self.state = NONE
        self.alive: list[str] = []
        self.launched: list[str] = []
        self._made = 0

    def forbidden_call(self) -> None:
        """What a capture does not allow: the stream's capture is invalid from then on."""
        if self.state == ACTIVE:
            self.state = INVALIDATED

    def cuGetErrorString(self, code: Code) -> tuple[Code, bytes]:  # noqa: N802
        return SUCCESS, f"text of {code.name}".encode()

    def cuStreamIsCapturing(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        return SUCCESS, self.state

    def cuStreamBeginCapture(self, stream: int, mode: str) -> tuple[Any, ...]:  # noqa: N802
        assert (stream, mode) == (7, "thread local")
        if code := self.refuse.get("cuStreamBeginCapture"):
            return (code,)
        assert self.state == NONE
        self.state = ACTIVE
        return (SUCCESS,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        state, self.state = self.state, NONE
        if state == INVALIDATED:
            return Code("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"), None
        return SUCCESS, self._make("graph")

    def cuGraphInstantiate(self, graph: str, flags: int) -> tuple[Any, ...]:  # noqa: N802
        assert graph in self.alive
        if code := self.refuse.get("cuGraphInstantiate"):
            return code, None
        return SUCCESS, self._make("executable")

    def cuGraphLaunch(self, graph: str, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert graph in self.alive
        self.launched.append(graph)
        return (SUCCESS,)

    def cuGraphDestroy(self, graph: str) -> tuple[Any, ...]:  # noqa: N802
        self.alive.remove(graph)
        return (SUCCESS,)

    cuGraphExecDestroy = cuGraphDestroy  # noqa: N815

    def _make(self, what: str) -> str:
        self._made += 1
        self.alive.append(f"{what} {self._made}")
        return self.alive[-1]
