"""Everybody followed while videos and live streams are indexed: which sighting each row belongs to."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mgts_trt.gallery.entry import Entry
from mgts_trt.gallery.follower import Follower
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.sources import is_video
from mgts_trt.gallery.retracking import has_sightings, mark_tracked, retrack, settle
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.store import Gallery
from mgts_trt.tracking.tracker import TrackerOptions


@dataclass
class _Source:
    """A video or stream that is followed."""

    name: str
    sha256: str
    follower: Follower
    begun: bool = False
    """Whether the gallery held sightings of it before."""
    seen: float = 0.0
    """When its last frame came, by the clock."""


class Followers:
    """Follows each video and live stream that one run of indexing reads; photos pass by.

    Videos come one after the other: when frames of another come, or the end, the one before is done. One of which this
    run saw all frames is; of another, that was taken up again, the sightings are made anew from all its rows.

    Args:
        gallery: One without sightings (format 2) is left as it is.
        silence: Seconds after which a sighting in a live stream ends, whether or not others are seen then.
        clock: Of seconds.
    """

    def __init__(self, gallery: Gallery, silence: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gallery, self._clock = gallery, clock
        self._live = TrackerOptions(patience=silence)
        self._streams: dict[str, _Source] = {}
        self._video: _Source | None = None
        self._done: list[_Source] = []
        """Videos that are over, whose last frames may not be stored yet."""

    def name(self, entry: Entry) -> Entry:
        """The entry with the sighting of everybody in it; a photo as it is.

        Raises:
            GalleryError: The gallery cannot be read or written.
        """
        source = self._of(entry.frame)
        if source is None:
            return entry
        source.seen = self._clock()
        return replace(entry, sightings=source.follower.follow(entry.frame, entry.people))

    def changed(self) -> list[Sighting]:
        """What is to be stored of sightings with the entries named since this was called last."""
        return [sighting for source in self._all() for sighting in source.follower.changed()]

    def stored(self) -> None:
        """Take note that all entries and sightings so far are stored, and so bring videos that are over to their end.

        Raises:
            GalleryError: The gallery cannot be read or written.
        """
        while self._done:
            source = self._done.pop()
            done, _ = self._gallery.frames_done(source.name, source.sha256)
            if not source.begun and len(done) == source.follower.frames:
                mark_tracked(self._gallery, source.name, source.sha256, len(done))
            else:
                retrack(self._gallery, source.name, source.sha256)

    def due(self) -> float | None:
        """Seconds until the first stream has been silent for too long; None where no sighting of any is open."""
        ends = [source.seen + self._live.patience for source in self._streams.values() if source.follower.following]
        return max(min(ends) - self._clock(), 0.0) if ends else None

    def end_silent(self) -> None:
        """End the sightings of streams of which nothing has come for too long."""
        for source in self._streams.values():
            if source.follower.following and self._clock() - source.seen >= self._live.patience:
                source.follower.finish()

    def finish(self) -> None:
        """End all sightings: nothing more comes."""
        for source in self._streams.values():
            source.follower.finish()
        self._end_video()

    def _of(self, frame: Frame) -> _Source | None:
        if self._gallery.sightings is None:
            return None
        if not frame.sha256:
            if frame.source not in self._streams:
                settle(self._gallery, frame.source)
                self._streams[frame.source] = _Source(frame.source, "", Follower(self._live))
            return self._streams[frame.source]
        if self._video is None or (self._video.name, self._video.sha256) != (frame.source, frame.sha256):
            self._end_video()
            if is_video(frame.source):
                begun = has_sightings(self._gallery, frame.source, frame.sha256)
                self._video = _Source(frame.source, frame.sha256, Follower(), begun)
        return self._video

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.follower.finish()
            self._done.append(self._video)
            self._video = None

    def _all(self) -> list[_Source]:
        return [*self._streams.values(), *self._done, *([] if self._video is None else [self._video])]
