"""What TensorRT calls back: its log, its errors, and how far a build is. Several of its threads may call at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias

OnProgress: TypeAlias = Callable[[str, float], None]
"""Called with the builder's phase and how much of the whole build is done, 0…1."""

Level = Literal["error", "warning", "info"]


class Message(NamedTuple):
    """One line of TensorRT's log."""

    level: Level
    text: str


class _Calls:
    """Which threads are in a call of TensorRT, and the errors of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: dict[int, list[tuple[Any, str]]] = {}

    @contextmanager
    def gather(self) -> Iterator[list[tuple[Any, str]]]:
        thread, errors = threading.get_ident(), list[tuple[Any, str]]()
        with self._lock:
            outer = self._errors.get(thread)
            self._errors[thread] = errors
        try:
            yield errors
        finally:
            with self._lock:
                if outer is None:
                    del self._errors[thread]
                else:
                    self._errors[thread] = outer

    def report(self, code: Any, description: str) -> None:
        with self._lock:
            mine = self._errors.get(threading.get_ident())
            for errors in self._errors.values() if mine is None else (mine,):
                errors.append((code, description))

    def mine(self) -> list[tuple[Any, str]]:
        with self._lock:
            return list(self._errors.get(threading.get_ident(), ()))

    def clear(self) -> None:
        with self._lock:
            self._errors.get(threading.get_ident(), []).clear()


class ErrorLog:
    """What TensorRT's objects report as errors, each to the thread whose call it belongs to.

    One engine has one recorder for all its contexts, which several threads run: what one thread's call reports says
    nothing about another's. An error that comes from a thread of TensorRT's own belongs to no call that can be told,
    and so to every call in progress.

    Args:
        module: The TensorRT package.

    Attributes:
        recorder: The object TensorRT calls.
    """

    def __init__(self, module: Any) -> None:
        self._calls = _Calls()
        self.recorder = _recorder_class(module)(self._calls)

    def gather(self) -> AbstractContextManager[list[tuple[Any, str]]]:
        """A call of TensorRT by this thread: the list fills with the code and description of each of its errors."""
        return self._calls.gather()


@cache
def process_logger(module: Any) -> Any:
    """The process's logger: TensorRT keeps the first one it is given."""
    levels: dict[Any, Level] = {
        module.ILogger.Severity.INTERNAL_ERROR: "error",
        module.ILogger.Severity.ERROR: "error",
        module.ILogger.Severity.WARNING: "warning",
        module.ILogger.Severity.INFO: "info",
    }

    class Logger(module.ILogger):  # type: ignore[misc]  # the base is only known when TensorRT is loaded
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.messages: list[Message] | None = None

        def log(self, severity: Any, text: str) -> None:
            if self.messages is not None and severity in levels:
                self.messages.append(Message(levels[severity], text.strip()))

    return Logger()


class _Phase:
    """A part of a build that has begun."""

    def __init__(self, parent: "_Phase | None", steps: int) -> None:
        self.parent, self.steps, self.done = parent, max(steps, 1), 0


class _Progress:
    """Turns nested phases, of several threads, into one fraction: a phase counts as one step of its parent."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        # Names are unique within a hierarchy of phases only, and each thread may be in one of its own.
        self._phases: dict[tuple[int, str], _Phase] = {}
        self._furthest = 0.0
        self._lock = threading.RLock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            above = None if parent is None else self._phases.get(self._key(parent))
            self._phases[threading.get_ident(), name] = _Phase(above, steps)
            self._report(name)

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if phase := self._phases.get(self._key(name)):
                phase.done = step + 1
                self._report(name)

    def finish(self, name: str, *, report: bool) -> None:
        with self._lock:
            key = self._key(name)
            if phase := self._phases.get(key):
                phase.done = phase.steps
                if report:
                    self._report(name)
                del self._phases[key]

    def _key(self, name: str) -> tuple[int, str]:
        """This thread's phase of that name, or another's that has one."""
        mine = (threading.get_ident(), name)
        return mine if mine in self._phases else next((key for key in self._phases if key[1] == name), mine)

    def _report(self, name: str) -> None:
        fraction, phase = 0.0, self._phases.get(self._key(name))
        while phase is not None:
            fraction = min((phase.done + fraction) / phase.steps, 1.0)
            phase = phase.parent
        self._furthest = max(self._furthest, fraction)
        self._on_progress(name, self._furthest)


@cache
def monitor_class(module: Any) -> Any:
    """A progress monitor: takes what to call with the progress, and what says that the build is cancelled."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
            module.IProgressMonitor.__init__(self)
            self._progress, self._cancelled = _Progress(on_progress), cancelled

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._progress.start(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            self._progress.step(phase, step)
            return not self._cancelled()

        def phase_finish(self, phase: str) -> None:
            self._progress.finish(phase, report=not self._cancelled())

    return Monitor


@cache
def _recorder_class(module: Any) -> Any:
    class Recorder(module.IErrorRecorder):  # type: ignore[misc]
        """Shows each thread the errors of its own call alone."""

        def __init__(self, calls: _Calls) -> None:
            module.IErrorRecorder.__init__(self)
            self._calls = calls

        def num_errors(self) -> int:
            return len(self._calls.mine())

        def get_error_code(self, index: int) -> Any:
            return self._calls.mine()[index][0]

        def get_error_desc(self, index: int) -> str:
            return self._calls.mine()[index][1]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self._calls.clear()

        def report_error(self, code: Any, description: str) -> bool:
            self._calls.report(code, description)
            return False

    return Recorder
