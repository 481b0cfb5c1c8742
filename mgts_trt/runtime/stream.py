"""People of picture after picture, in order, with several pictures in flight."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from mgts_trt._typing import Self
from mgts_trt.errors import BackendError
from mgts_trt.runtime.people import People

Errors: TypeAlias = Literal["raise", "return"]

DEPTH = 2
"""Pictures in flight by default."""


def closed() -> BackendError:
    """What calls of a closed pipeline raise."""
    return BackendError("This PersonSearch is closed; open the bundle again.")


def require_errors(errors: str) -> None:
    """Raise `BackendError` if `errors` is no `Errors`."""
    if errors not in ("raise", "return"):
        raise BackendError(f"errors is {errors!r}; it is 'raise' or 'return'.")


class Pending(Protocol):
    """A picture in flight."""

    def advance(self) -> None:
        """Queue what can be queued without waiting. Raises nothing; what fails is raised by `wait`."""
        ...

    def wait(self) -> None:
        """Wait for the result."""
        ...

    def take(self) -> People:
        """The result, after `wait`."""
        ...

    def abandon(self) -> None:
        """Let it go, whatever its state; harmless at its end."""
        ...


Item = TypeVar("Item", covariant=True)
"""`People`, or an exception in its place."""


class PeopleStream(Iterator[Item]):
    """Made by `PersonSearch.stream`. One thread at a time takes from it; any thread may close it.

    Args:
        images: Read only as far ahead as pictures are in flight.
        begin: Sends a picture off.
        depth: Most pictures in flight.
        errors: What becomes of a picture that fails: raised at its place, or returned there.

    Raises:
        BackendError: `depth` is below 1, or `errors` is neither.
    """

    def __init__(
        self, images: Iterable[Any], begin: Callable[[Any], Pending], depth: int, errors: Errors = "raise"
    ) -> None:
        # First, for `close`, which Python calls even if this fails.
        self._lock = threading.RLock()
        self._flying: deque[Pending | _Failed] = deque()
        self._closed = False
        if depth < 1:
            raise BackendError(f"depth is {depth}, but at least one picture is in flight. Pass 1 or more.")
        require_errors(errors)
        self._images, self._exhausted = iter(images), False
        self._begin, self._depth, self._errors = begin, depth, errors
        self._interruption: str | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._next()
        except Exception:
            raise
        except BaseException:  # Ctrl-C: nothing stays in flight
            self.close()
            raise

    def close(self) -> None:
        """Wait for what is in flight, drop it, and end. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            while self._flying:
                flight = self._flying.popleft()
                if not isinstance(flight, _Failed):
                    flight.abandon()

    def interrupt(self, why: str) -> None:
        """Close it from outside: whoever takes from it next gets a `BackendError` that says why."""
        with self._lock:
            if not self._closed:
                self._interruption = why
            self.close()

    def __del__(self) -> None:
        self.close()

    def _next(self) -> Any:
        self._fill()
        with self._lock:
            if self._interruption is not None:
                why, self._interruption = self._interruption, None
                raise BackendError(why)
            if not self._flying:
                self._closed = True
                raise StopIteration
            flight = self._flying.popleft()
            if isinstance(flight, _Failed):
                return self._failed(flight)
            try:
                flight.wait()
                # The next ones' turn on the device, before the host is busy with this one's results.
                self._advance()
                return flight.take()
            except Exception as error:
                return self._failed(_Failed(error))
            finally:
                flight.abandon()

    def _fill(self) -> None:
        """Send pictures off until `depth` are in flight."""
        while not self._closed and not self._exhausted and len(self._flying) < self._depth:
            # Without the lock: a source may take its time, and `close` does not wait for it.
            try:
                image = next(self._images)
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:
                with self._lock:
                    self._flying.append(_Failed(error, of_source=True))
                continue
            self._send(image)

    def _send(self, image: Any) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self._flying.append(self._begin(image))
            except Exception as error:
                self._flying.append(_Failed(error))
            self._advance()

    def _advance(self) -> None:
        for flight in self._flying:
            if not isinstance(flight, _Failed):
                flight.advance()

    def _failed(self, failure: "_Failed") -> Exception:
        if self._errors == "raise" or failure.of_source:
            raise failure.error
        return failure.error


class _Failed:
    """The place of a picture that failed."""

    def __init__(self, error: Exception, *, of_source: bool = False) -> None:
        self.error, self.of_source = error, of_source


class Deferred:
    """A picture that is searched when its result is asked for: what a backend does that has nothing to overlap."""

    def __init__(self, search: Callable[[], People]) -> None:
        self._search = search

    def advance(self) -> None:
        """See `Pending.advance`."""

    def wait(self) -> None:
        """See `Pending.wait`."""

    def take(self) -> People:
        """See `Pending.take`."""
        return self._search()

    def abandon(self) -> None:
        """See `Pending.abandon`."""
