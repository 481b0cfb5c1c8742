"""What the routes share: the pipeline behind its queue, the gallery behind its writer, the counters."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mgts_trt.access.audit_log import AuditLog
from mgts_trt.gallery.browse import Overview, overview
from mgts_trt.gallery.choosing import Chosen, forget_chosen
from mgts_trt.gallery.indexing.scene import SceneReader
from mgts_trt.gallery.writing import finish
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.service.counters import Metrics
from mgts_trt.service.dispatcher import DEPTH, Dispatcher, Job
from mgts_trt.service.limits import Limits
from mgts_trt.service.readiness import Readiness
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.schemas import GallerySize
from mgts_trt.service.turnstile import Turnstile
from mgts_trt.service.writer import Writer

if TYPE_CHECKING:
    from mgts_trt.gallery import Entry, Gallery
    from mgts_trt.gallery.erasure import Erased

T = TypeVar("T")

COUNT_EVERY = 10.0
"""Seconds for which the gallery's size is not counted again unless something was added here: a large one takes time."""


class Service:
    """One pipeline and at most one gallery for many requests.

    Args:
        search: Stays open when the service is closed.
        gallery: Of the pipeline's space, or None; it stays open, too.
        limits: Of requests.
        key_needed: What `/healthz` says of it.
        audit: Log of what is done with the gallery; None keeps none.
    """

    def __init__(
        self,
        search: PersonSearch,
        gallery: "Gallery | None" = None,
        *,
        limits: Limits,
        key_needed: bool = False,
        audit: AuditLog | None = None,
    ) -> None:
        self.search, self.limits, self.key_needed, self.audit = search, limits, key_needed, audit
        self._gallery = gallery
        self.turnstile = Turnstile()
        self.metrics = Metrics(
            mode=search.mode,
            backend=search.runtime.backend,
            waiting=lambda: self._dispatcher.waiting,
            running=lambda: self.turnstile.running,
        )
        self.readiness = Readiness()
        depth = max(DEPTH, search.pictures_in_flight)
        self._dispatcher = Dispatcher(
            search, self.metrics.count_picture, lambda stop: self.readiness.warm_up(search, depth, stop), depth
        )
        self._writer = None if gallery is None else Writer(gallery, self._committed)
        self._size = GallerySize(people=0, frames=0)
        self._counted = -COUNT_EVERY
        self._counting = threading.Lock()
        self._overview: Overview | None = None
        self._forgetting = threading.Lock()
        self.scenes = SceneReader()
        self.reading = ThreadPoolExecutor(2, "mgts-scene")  # few: a frame deep in a video takes a core for a while

    def close(self) -> None:
        """Finish what runs, write what was described, and end its threads. Closing twice is harmless."""
        self._dispatcher.close()
        self.reading.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.close()

    @property
    def has_gallery(self) -> bool:
        """Whether there is one to search."""
        return self._gallery is not None

    @property
    def gallery(self) -> "Gallery":
        """The gallery.

        Raises:
            Refusal: 404, there is none.
        """
        if self._gallery is None:
            raise _no_gallery()
        return self._gallery

    async def run(self, job: Job[T]) -> T:
        """Search one picture. Cancelling the wait drops it from the queue."""
        self._dispatcher.submit([job])
        return await asyncio.wrap_future(job.result)

    async def run_all(self, jobs: Sequence[Job[T]]) -> list[T | BaseException]:
        """Search a request's pictures: for each its result, or what it failed of."""
        self._dispatcher.submit(jobs)
        return await asyncio.gather(*(asyncio.wrap_future(job.result) for job in jobs), return_exceptions=True)

    def write(self, entry: "Entry") -> Future[None]:
        """Queue a frame for the gallery; see `Writer.write`.

        Raises:
            Refusal: 404, there is no gallery.
        """
        if self._writer is None:
            raise _no_gallery()
        return self._writer.write(entry)

    def size(self) -> GallerySize:
        """How much the gallery holds; at most `COUNT_EVERY` seconds old. It may wait for the disk."""
        with self._counting:
            if time.monotonic() - self._counted >= COUNT_EVERY:
                self._counted = time.monotonic()  # first: what is added while it counts makes it count again
                summary = self.gallery.summary()
                self._overview = None
                self._size = GallerySize(people=summary.people, frames=summary.frames)
            return self._size

    def overview(self) -> Overview:
        """Sources and cameras of the gallery; as old as `size` may be. It may wait for the disk."""
        self.size()
        with self._counting:
            if self._overview is None:
                self._overview = overview(self.gallery)
            return self._overview

    def forget(self, source: str) -> int:
        """Erase a source, and return how many people that were; it takes a while.

        Raises:
            Refusal: 404, the gallery has nothing of it.
        """
        with self._forgetting:
            finish(self.gallery)  # else the source may seem to be gone already
            if not overview(self.gallery).has(source):
                raise Refusal(
                    404, "The gallery has nothing of such a source. GET /sources lists what it has.", "unknown"
                )
            try:
                return self.gallery.forget(source)
            finally:
                self._counted = -COUNT_EVERY

    def forget_chosen(self, chosen: Chosen) -> "Erased":
        """Erase those who were chosen; it takes a while."""
        with self._forgetting:
            try:
                return forget_chosen(self.gallery, chosen)
            finally:
                self._counted = -COUNT_EVERY

    def _committed(self, frames: int) -> None:
        self.metrics.commits.observe(frames)
        self._counted = -COUNT_EVERY


def _no_gallery() -> Refusal:
    return Refusal(404, "This service has no gallery; it must be started with --gallery DIR.", "no_gallery")
