"""One source followed frame by frame: which sighting everybody belongs to."""

from collections.abc import Sequence

from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.gathering import Gathering, Row, qualities
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.tables import person_id
from mgts_trt.runtime.people import People
from mgts_trt.tracking.tracker import Tracker, TrackerOptions

_RATE = 25.0
"""Frames a second where nobody told times."""


class Follower:
    """Follows a video, or a live stream.

    Boxes, scores, embeddings, times, cuts and their order alone decide: what a gallery stored gives the same sightings
    again.

    Args:
        options: Of the tracker; its patience is the silence that ends a sighting.

    Attributes:
        frames: How many were followed.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self._tracker = Tracker(options or TrackerOptions())
        self._open: dict[int, Gathering] = {}
        self._changed: dict[int, Gathering] = {}
        self._closed: list[Sighting] = []
        self.frames = 0

    @property
    def following(self) -> bool:
        """Whether a sighting is open."""
        return bool(self._open)

    def follow(self, frame: Frame, people: People, rows: Sequence[str] | None = None) -> list[str]:
        """The ids of the sightings that the people of the next frame belong to: one each, in their order.

        Args:
            frame: The next.
            people: Of it.
            rows: Ids of their rows; by default those of a frame of which nobody was forgotten.
        """
        time = frame.number / _RATE if frame.time is None else frame.time
        tracks, ended = self._tracker.update(time, people, cut=frame.cut)
        self._close(ended)
        self.frames += 1
        good = qualities(people.boxes, people.scores)
        ids, key = list[str](), frame.key
        for i, track in enumerate(tracks.tolist()):
            its_id = person_id(key, i) if rows is None else rows[i]
            row = Row(its_id, people.boxes[i], float(people.scores[i]), people.embeddings[i], float(good[i]))
            gathering = self._open.get(track)
            if gathering is None:
                gathering = self._open[track] = Gathering(frame, row, time)
            else:
                gathering.add(frame, row, time)
            self._changed[track] = gathering
            ids.append(gathering.id)
        return ids

    def finish(self) -> None:
        """End all sightings; what comes afterwards begins new ones."""
        self._close(self._tracker.finish())

    def changed(self) -> list[Sighting]:
        """The sightings that began, went on or ended since this was called last, as they are now."""
        open_ = [gathering.sighting(closed=False) for gathering in self._changed.values()]
        sightings = [*self._closed, *open_]
        self._closed, self._changed = [], {}
        return sightings

    def _close(self, tracks: list[int]) -> None:
        for track in tracks:
            self._changed.pop(track, None)
            self._closed.append(self._open.pop(track).sighting(closed=True))
