"""What TensorRT-RTX compiles while pictures are searched is kept on disk by a thread of its own."""

import logging
import threading
from typing import Protocol

_log = logging.getLogger(__name__)


class Keeps(Protocol):
    """An engine, as far as it has a cache."""

    @property
    def has_cache(self) -> bool:
        """Whether it compiles at run time, and keeps what it compiled."""
        ...

    def save_cache(self) -> None:
        """Write what was compiled since the last call, if anything."""
        ...


class CacheKeeper:
    """Saves engines' runtime caches, so that no picture waits for a cache to be serialised and written.

    Its thread lives as long as there is something to save.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Keeps] = []
        self._saving = self._closed = False

    def keep(self, engine: Keeps) -> None:
        """Save an engine's cache soon; asked again before its turn, once."""
        with self._changed:
            if self._closed or not engine.has_cache or any(each is engine for each in self._waiting):
                return
            self._waiting.append(engine)
            if not self._saving:
                self._saving = True
                threading.Thread(target=self._save, name="mgts-cache").start()

    def flush(self) -> None:
        """Wait until all that was asked for is saved."""
        with self._changed:
            self._changed.wait_for(lambda: not self._saving)

    def close(self) -> None:
        """Save what waits, and end. Closing twice is harmless; afterwards nothing is kept."""
        with self._changed:
            self._closed = True
        self.flush()

    def _save(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._saving = False
                    self._changed.notify_all()
                    return
                engine = self._waiting.pop(0)
            try:
                engine.save_cache()
            except Exception as error:  # it only saves time, and nobody may wait forever
                _log.warning("A runtime cache was not saved: %s", error)
