"""What brings alarms to somebody elsewhere: in order, in a thread of its own, so that the video never waits."""

import queue
import threading
from abc import ABC, abstractmethod

ROOM = 100
"""Alarms that wait; further ones are not delivered."""

PATIENCE = 10.0
"""Seconds for what waits at the end."""

_LONGEST = 11.0
"""Seconds that giving up may take: a server that says nothing is waited for no longer than ten."""


class Delivery(ABC):
    """Brings bodies to a receiver, in order. Handing one over never waits.

    Args:
        name: Of the receiver, in sentences.
        room: Bodies that wait.

    Attributes:
        name: As given.
        delivered: Bodies that the receiver took.
        lost: Bodies that it did not take, or for which there was no room.
        stop: Set when what is being delivered is to be given up.
    """

    def __init__(self, name: str, *, room: int = ROOM) -> None:
        self.name = name
        self.delivered = self.lost = 0
        self.stop = threading.Event()
        self._queue: queue.Queue[bytes | None] = queue.Queue(room + 1)  # one place is for the end
        self._room, self._lock = room, threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def deliver(self, body: bytes) -> bool:
        """Bring a body to the receiver: whether it took it. May take long, but not once `stop` is set."""

    def put(self, body: bytes) -> None:
        """Hand a body over; without room it is lost, and counted."""
        if self._queue.qsize() >= self._room:
            self._lose()
        else:
            self._queue.put_nowait(body)

    def close(self, patience: float | None = None) -> None:
        """Deliver what waits, for so many seconds at most (`PATIENCE`); what is left then is lost, and counted."""
        self._queue.put_nowait(None)
        self._thread.join(PATIENCE if patience is None else patience)
        self.stop.set()
        self._thread.join(_LONGEST)
        for _ in range(self._queue.qsize() if self._thread.is_alive() else 0):
            self._lose()

    def _run(self) -> None:
        while (body := self._queue.get()) is not None:
            if not self.stop.is_set() and self.deliver(body):
                self.delivered += 1
            else:
                self._lose()

    def _lose(self) -> None:
        with self._lock:
            self.lost += 1
