"""Slots, made when they are needed and used again."""

import threading
from collections.abc import Callable

from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu.slot import Slot
from mgts_trt.runtime.stream import closed

PATIENCE = 60.0
"""Seconds: streams that nobody reads hold their pictures forever."""


class SlotPool:
    """Slots for several threads.

    Args:
        make: Makes one more.
        most: Slots there may be at once; None: as many as are taken.
    """

    def __init__(self, make: Callable[[], Slot], *, most: int | None = None) -> None:
        self._make, self._most = make, most
        self._changed = threading.Condition()
        self._free: list[Slot] = []
        self._taken = 0
        self._closed = False

    def take(self) -> Slot:
        """A slot nobody else uses, to be given back. It waits where `most` are taken.

        Raises:
            BackendError: The pool is closed, there is not enough memory for one more slot, or none was given back for
                `PATIENCE`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._taken != self._most, PATIENCE):
                raise BackendError(
                    f"All {self._most} pictures in flight have been taken for {PATIENCE:.0f} s. Take the results of "
                    "streams that are open, or close them; or open the bundle with more pictures_in_flight."
                )
            if self._closed:
                raise closed()
            self._taken += 1
            if self._free:
                return self._free.pop()
        try:
            return self._make()
        except BaseException:
            self._returned(None)
            raise

    def give(self, slot: Slot) -> None:
        """Give back a slot whose work is done."""
        self._returned(slot)

    def discard(self, slot: Slot) -> None:
        """Give back a slot that failed, to be freed."""
        try:
            slot.close()
        finally:
            self._returned(None)

    def close(self) -> None:
        """Give out no more, wait for those that are taken, and free all."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._taken == 0)
            slots, self._free = self._free, []
        for slot in slots:
            slot.close()

    def _returned(self, slot: Slot | None) -> None:
        with self._changed:
            self._taken -= 1
            if slot is not None:
                self._free.append(slot)
            self._changed.notify_all()
