"""Everybody followed where no gallery does it: the sightings are those that a gallery would have."""

from dataclasses import dataclass, field

from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.sources import Kind
from mgts_trt.gallery.sighting import sighting_id
from mgts_trt.gallery.tables import person_id
from mgts_trt.runtime.people import People
from mgts_trt.tracking.tracker import Tracker, TrackerOptions


@dataclass
class _Followed:
    tracker: Tracker
    names: dict[int, str] = field(default_factory=dict)
    """The sighting of each track that is open."""


class Tracks:
    """Names the sighting of everybody in videos and live streams.

    Args:
        silence: Seconds after which a sighting in a live stream is over.
    """

    def __init__(self, silence: float) -> None:
        self._live = TrackerOptions(patience=silence)
        self._streams: dict[str, _Followed] = {}
        self._video, self._followed = "", _Followed(Tracker())

    def name(self, frame: Frame, people: People, kind: Kind) -> list[str]:
        """The ids of the sightings that the people of the next frame belong to, in their order; of a photo, none.

        Args:
            frame: One video comes after the other; streams may come between.
            people: N of them.
            kind: Of its source.
        """
        if kind == "picture":
            return []
        followed = self._of(frame.source, kind)
        tracks, ended = followed.tracker.update(frame.time or 0.0, people, cut=frame.cut)
        for track in ended:
            del followed.names[track]
        return [
            followed.names.setdefault(track, sighting_id(person_id(frame.key, row)))
            for row, track in enumerate(tracks.tolist())
        ]

    def _of(self, source: str, kind: Kind) -> _Followed:
        if kind == "stream":
            return self._streams.setdefault(source, _Followed(Tracker(self._live)))
        if self._video != source:  # the video before is over
            self._video, self._followed = source, _Followed(Tracker())
        return self._followed
