"""A bounded queue between threads that ends when either side does."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LOOK = 0.1
"""Seconds between looks at `stop`, which may be set in a signal handler, where nothing can be notified."""


class Channel(Generic[Item]):
    """Items from any number of threads to one, in order.

    Args:
        room: Most items that wait.
        stop: When set, nothing more goes in; what is in still comes out.
    """

    def __init__(self, room: int, stop: threading.Event | None = None) -> None:
        self._room, self._stop = room, stop or threading.Event()
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item, *, wait: bool = True) -> bool:
        """Put an item in, after waiting for room; False if it did not go in.

        Args:
            item: What.
            wait: Otherwise it is dropped when there is no room.
        """
        with self._changed:
            while not self.ended and len(self._items) >= self._room:
                if not wait:
                    return False
                self._changed.wait(_LOOK)
            if self.ended:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> Item | None:
        """The next item; None when there is none in time, or, at once, when none will come."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items:
                left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
                if self.ended or left <= 0:
                    return None
                self._changed.wait(left)
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Item]:
        """Items until it ends."""
        while (item := self.get()) is not None:
            yield item

    @property
    def ended(self) -> bool:
        """Whether nothing more goes in."""
        return self._closed or self._stop.is_set()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items

    def close(self) -> None:
        """Nothing more goes in; what is in still comes out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> bool:
        """Wait; at once True when it ends."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self.ended and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(_LOOK, left))
            return self.ended
