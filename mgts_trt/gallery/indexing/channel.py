"""A bounded queue between threads that ends when either side does."""

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LOOK = 0.1
"""Seconds between looks at `stop`, which may be set in a signal handler, where nothing can be notified."""


class Channel(Generic[Item]):
    """Items from any number of threads to one, in order.

    Threads that cannot wait, such as those of live streams, have a lane each. Lanes take turns, so that none starves
    another, nor what waits for room; within one, items stay in order.

    Args:
        room: Most items of those that wait for room.
        stop: When set, nothing more goes in; what is in still comes out.
    """

    def __init__(self, room: int, stop: threading.Event | None = None) -> None:
        self._room, self._stop = room, stop or threading.Event()
        self._lanes: dict[Hashable, deque[Item]] = {}
        self._turns: deque[Hashable] = deque()  # lanes with items, each once
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> bool:
        """Put an item in, after waiting for room; False if it did not go in."""
        with self._changed:
            while not self.ended and len(self._lanes.get(None, ())) >= self._room:
                self._changed.wait(_LOOK)
            return self._append(None, item)

    def tell(self, item: Item) -> bool:
        """Put an item in at once, whether there is room or not: what is small and seldom. False if it did not go in."""
        with self._changed:
            return self._append(None, item)

    def put_newest(self, item: Item, lane: Hashable, room: int = 1) -> int | None:
        """Put an item into a lane at once; where that is full, its oldest item gives way.

        Args:
            item: What.
            lane: Whose; not None.
            room: Most items of the lane.

        Returns:
            How many gave way; None if it did not go in.
        """
        with self._changed:
            if not self._append(lane, item):
                return None
            items, left = self._lanes[lane], 0
            while len(items) > room:
                items.popleft()
                left += 1
            return left

    def get(self, timeout: float | None = None) -> Item | None:
        """The next item; None when there is none in time, or, at once, when none will come."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._turns:
                left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
                if self.ended or left <= 0:
                    return None
                self._changed.wait(left)
            lane = self._turns.popleft()
            items = self._lanes[lane]
            item = items.popleft()
            if items:
                self._turns.append(lane)
            else:
                del self._lanes[lane]
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
        return not self._turns

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

    def _append(self, lane: Hashable, item: Item) -> bool:
        if self.ended:
            return False
        items = self._lanes.setdefault(lane, deque())
        if not items:
            self._turns.append(lane)
        items.append(item)
        self._changed.notify_all()
        return True
