"""Threads that read into one channel, which is closed after the last of them."""

import threading
import time
from collections.abc import Callable, Sequence

from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.live_stream import LONGEST_WAIT
from mgts_trt.gallery.indexing.reading import Read


class ReadingThreads:
    """A thread a task; they run at once.

    Args:
        tasks: Each reads something into the channel, and ends once that has ended.
        channel: Closed after the last of them, and when one fails.
        patience: Seconds that one may hear nothing of a camera.
    """

    def __init__(
        self, tasks: Sequence[Callable[[], None]], channel: Channel[Read], patience: float = LONGEST_WAIT
    ) -> None:
        self._channel, self._patience = channel, patience
        self._error: Exception | None = None
        self._lock, self._left = threading.Lock(), len(tasks)
        # Daemons, since one may wait long for a name server, where nothing else can end it.
        self._threads = [threading.Thread(target=self._run, args=(task,), name="read", daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()
        if not tasks:
            channel.close()  # as the last of them does

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self._error = error
            self._channel.close()
        finally:
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._channel.close()

    def finish(self) -> None:
        """Wait for the threads, of which one may hear nothing of a camera for as long as its patience.

        None may come back from FFmpeg while Python ends: Python would unwind it through C++, which calls abort.
        """
        deadline = time.monotonic() + self._patience + 2.0
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def check(self) -> None:
        """Raise what a thread failed with."""
        if self._error is not None:
            raise self._error
