"""What several requests bring is committed to the gallery at once."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

from mgts_trt.gallery.commits import OPTIMISE_EVERY, Commits

if TYPE_CHECKING:
    from mgts_trt.gallery import Entry, Gallery

    Item: TypeAlias = tuple[Entry, Future[None]]

MOST = 256
"""Frames in one commit."""

logger = logging.getLogger("mgts_trt.service")


class Writer:
    """Adds frames to a gallery, from one thread: while it commits, the next ones gather.

    Args:
        gallery: Where to; it stays open when the writer is closed.
        on_commit: Told how many frames each commit held.
        optimise_every: After so many commits the gallery is optimised, beside what is written meanwhile.
    """

    def __init__(
        self,
        gallery: "Gallery",
        on_commit: Callable[[int], None] = lambda _: None,
        *,
        optimise_every: int = OPTIMISE_EVERY,
    ) -> None:
        self._gallery, self._on_commit = gallery, on_commit
        self._commits = Commits(gallery, lambda: self._optimiser.submit(self._optimise), optimise_every)
        self._optimiser = ThreadPoolExecutor(1, "mgts-optimiser")
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mgts-writer", daemon=True)
        self._thread.start()

    def write(self, entry: "Entry") -> Future[None]:
        """Queue a frame; the future is done when it is in the gallery, or holds the error that kept it out."""
        written: Future[None] = Future()
        written.set_running_or_notify_cancel()  # who waits may go away; the frame stays
        self._queue.put((entry, written))
        return written

    def close(self) -> None:
        """Write what is queued, and end. Closing twice is harmless; what comes after is not written."""
        self._queue.put(None)
        self._thread.join()
        self._optimiser.shutdown()

    def _work(self) -> None:
        last = False
        while not last:
            batch, last = self._gather()
            if batch:
                self._commit(batch)

    def _commit(self, batch: "Sequence[Item]") -> None:
        try:
            self._commits.add([entry for entry, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for item in batch:  # one that cannot be stored costs itself alone
                self._commit([item])
            return
        self._on_commit(len(batch))
        for _, written in batch:
            written.set_result(None)

    def _optimise(self) -> None:
        try:
            self._gallery.optimise()
        except Exception as error:  # what was written is there; searches only stay slower
            logger.warning("The gallery was not optimised: %s", error)

    def _gather(self) -> "tuple[list[Item], bool]":
        """All that is queued, after waiting for the first; and whether it was the last."""
        batch: list[Item] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MOST:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True
