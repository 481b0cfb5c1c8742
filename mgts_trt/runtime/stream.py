"""People of picture after picture, in order, with several pictures in flight."""

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """Pictures in flight together."""

    pictures: int
    """How many."""

    def advance(self) -> None:
        """Queue what can be queued without waiting. Raises nothing; what fails is raised by `wait`."""
        ...

    def wait(self) -> None:
        """Wait for the results."""
        ...

    def take(self) -> Sequence[People | Exception]:
        """The results, one for each picture, after `wait`; of one that is none, why."""
        ...

    def abandon(self) -> None:
        """Let them go, whatever their state; harmless at the end."""
        ...


Item = TypeVar("Item", covariant=True)
"""`People`, or an exception in its place."""


class ReadAhead(Iterator[Any]):
    """Pictures that somebody else reads meanwhile: of these a stream can tell which are there already."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the next one is there, so that `next` gives it without waiting."""


def is_ready(images: Iterable[Any]) -> bool:
    """Whether the next of some pictures is there already; of an iterator nobody can tell, but of `ReadAhead`."""
    return images.ready() if isinstance(images, ReadAhead) else isinstance(images, Sequence)


class PeopleStream(Iterator[Item]):
    """Made by `PersonSearch.stream`. One thread at a time takes from it; any thread may close it.

    Args:
        images: Read only as far ahead as pictures are in flight.
        begin: Sends pictures off together.
        depth: How often it does before it waits for results.
        together: Most pictures it is given.
        ready: Whether there is one more to go with others; without, all are waited for, but at the end of `images`.
        errors: What becomes of a picture that fails: raised at its place, or returned there.

    Raises:
        BackendError: `depth` is below 1, or `errors` is neither.
    """

    def __init__(
        self,
        images: Iterable[Any],
        begin: Callable[[Sequence[Any]], Pending],
        depth: int,
        errors: Errors = "raise",
        together: int = 1,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        # First, for `close`, which Python calls even if this fails.
        self._lock = threading.RLock()
        self._flying: deque[Pending | _Failed] = deque()
        self._landed: deque[People | _Failed] = deque()
        self._closed = False
        if depth < 1:
            raise BackendError(f"depth is {depth}, but at least one picture is in flight. Pass 1 or more.")
        require_errors(errors)
        self._images, self._exhausted = iter(images), False
        self._begin, self._depth, self._errors, self._together, self._ready = begin, depth, errors, together, ready
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
            self._landed.clear()
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
            if not self._landed:
                self._land()
            result = self._landed.popleft()
            if not isinstance(result, _Failed):
                return result
            if self._errors == "raise" or result.of_source:
                raise result.error
            return result.error

    def _land(self) -> None:
        """Take the results of what was sent off first."""
        if not self._flying:
            self._closed = True
            raise StopIteration
        flight = self._flying.popleft()
        if isinstance(flight, _Failed):
            self._landed.append(flight)
            return
        try:
            flight.wait()
            # The next ones' turn on the device, before the host is busy with these results.
            self._advance()
            self._landed += (_Failed(each) if isinstance(each, Exception) else each for each in flight.take())
        except Exception as error:
            self._landed += [_Failed(error)] * flight.pictures
        finally:
            flight.abandon()

    def _fill(self) -> None:
        """Send pictures off until there are `depth` batches in flight."""
        while not self._closed and not self._exhausted and len(self._flying) < self._depth:
            images: list[Any] = []
            failure = None
            # Without the lock: a source may take its time, and `close` does not wait for it.
            try:
                while not images or (len(images) < self._together and self._ready()):
                    images.append(next(self._images))
            except StopIteration:
                self._exhausted = True
            except Exception as error:
                failure = _Failed(error, of_source=True)
            self._send(images, failure)

    def _send(self, images: Sequence[Any], behind: "_Failed | None") -> None:
        with self._lock:
            if self._closed:
                return
            if images:
                try:
                    self._flying.append(self._begin(images))
                except Exception as error:
                    self._flying.extend([_Failed(error)] * len(images))
            if behind is not None:
                self._flying.append(behind)
            self._advance()

    def _advance(self) -> None:
        for flight in self._flying:
            if not isinstance(flight, _Failed):
                flight.advance()


class _Failed:
    """The place of a picture that failed."""

    def __init__(self, error: Exception, *, of_source: bool = False) -> None:
        self.error, self.of_source = error, of_source


class Deferred:
    """Pictures that are searched when their results are asked for: what a backend does that has nothing to overlap."""

    def __init__(self, search: Callable[[], Sequence[People | Exception]], pictures: int = 1) -> None:
        self._search, self.pictures = search, pictures

    def advance(self) -> None:
        """See `Pending.advance`."""

    def wait(self) -> None:
        """See `Pending.wait`."""

    def take(self) -> Sequence[People | Exception]:
        """See `Pending.take`."""
        return self._search()

    def abandon(self) -> None:
        """See `Pending.abandon`."""
