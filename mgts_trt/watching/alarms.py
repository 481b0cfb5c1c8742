"""Whom to tell of: people compared with those watched for, and told once a track."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.likeness import Likeness
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.tables import person_id
from mgts_trt.pictures.image import crop, encode_image
from mgts_trt.runtime.people import People
from mgts_trt.tracking.tracker import TrackerOptions
from mgts_trt.watching.alarm_journal import AlarmJournal


@dataclass(frozen=True)
class Watched:
    """Who is watched for: a name, and photos of them."""

    name: str
    question: Question


@dataclass(frozen=True)
class Alarm:
    """What is to be told.

    Attributes:
        id: 32 hexadecimal digits: the same whenever the same frame is searched for the same person.
        place: The person and the place that the cool-down is of.
        time: By the clock of the place.
        event: What is told, but for the crop, as JSON takes it.
        jpeg: The crop.
    """

    id: str
    place: str
    time: float
    event: dict[str, object]
    jpeg: bytes = field(repr=False)


@dataclass
class _Place:
    """A live camera, or a file: what was decided there."""

    name: tuple[str, ...]
    last: dict[str, float] = field(default_factory=dict)
    """When the last alarm was for each person, by the clock of the place."""
    decided: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the sighting of a person that was decided on was seen last."""


class Alarms:
    """Decides, frame by frame, whom to tell of.

    A person is told of once a sighting, in its first frame that is alike enough. One that becomes so within `cool_down`
    seconds of an alarm for the same person and camera, or in the same video, is not told of. Photos have neither
    sightings nor times: each tells of a person once, or, without a cool-down, of everybody in it who is alike.

    Args:
        watched: At least one.
        least: Likeness from which on an alarm is raised.
        journal: Knows what was told before.
        emit: Takes each alarm, as JSON takes it. It is journalled afterwards: a crash repeats one rather than lose it.
        curve: Tells the false-match rate of a likeness, if the bundle is calibrated.
        cool_down: Seconds, by the frames' times.
        crops: Folder for the crops, as JPEG files; without, they are in the alarms, base64.
        gallery: Where the people that alarms name are found, if anywhere.
        silence: Seconds after which a sighting is over.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        least: float,
        journal: AlarmJournal,
        emit: Callable[[dict[str, object]], None],
        *,
        curve: Likeness | None = None,
        cool_down: float = 60.0,
        crops: Path | None = None,
        gallery: str | None = None,
        silence: float = TrackerOptions().patience,
    ) -> None:
        self._watched, self._least, self._journal, self._emit = watched, least, journal, emit
        self._curve, self._cool_down, self._crops, self._gallery = curve, cool_down, crops, gallery
        self._silence = silence
        self._cameras: dict[tuple[str, ...], _Place] = {}
        self._file = _Place(())
        self.raised = 0

    def find(self, picture: Picture, people: People, sightings: Sequence[str], *, live: bool) -> list[Alarm]:
        """Whom to tell of in a frame.

        Args:
            picture: The frame; one file comes after the other.
            people: N of them.
            sightings: N ids, of the sighting that each belongs to; or none at all, for a photo.
            live: Whether it is of a live stream.
        """
        frame, found = picture.frame, list[Alarm]()
        time, place = frame.time or 0.0, self._place(frame, live)
        for watched in self._watched if len(people) else ():
            likeness = watched.question.likeness(people.embeddings)
            for row in map(int, (-likeness).argsort(kind="stable")):
                sighting = watched.name, sightings[row] if sightings else person_id(frame.key, row)
                decided, alike = sighting in place.decided, likeness[row] >= self._least
                if decided or alike:
                    place.decided[sighting] = time
                if alike and not decided:
                    found += self._decide(picture, people, row, sightings, watched.name, place, float(likeness[row]))
        for over in [key for key, seen in place.decided.items() if time - seen > self._silence + 1.0]:
            del place.decided[over]
        return found

    def tell(self, alarms: Sequence[Alarm]) -> None:
        """Hand alarms on, and keep that they were.

        Raises:
            MgtsError: A crop, or the journal, cannot be written.
        """
        for alarm in alarms:
            event = dict(alarm.event)
            if self._crops is None:
                event["crop"] = base64.b64encode(alarm.jpeg).decode()
            else:
                file = self._crops / f"{alarm.id}.jpg"
                try:
                    file.write_bytes(alarm.jpeg)
                except OSError as error:
                    raise MgtsError(
                        f"Cannot write {file}: {error.strerror}. Name another folder with --crops."
                    ) from error
                event["crop_file"] = str(file)
            self._emit(event)
            self._journal.note(alarm.id, alarm.place, alarm.time)
            self.raised += 1

    def _place(self, frame: Frame, live: bool) -> _Place:
        # Videos have clocks of their own; live cameras share that of the world.
        if live:
            name: tuple[str, ...] = (frame.camera or frame.source,)
            return self._cameras.setdefault(name, _Place(name))
        name = frame.source, frame.sha256
        if self._file.name != name:  # the file before is over
            self._file = _Place(name)
        return self._file

    def _decide(
        self,
        picture: Picture,
        people: People,
        row: int,
        sightings: Sequence[str],
        name: str,
        where: _Place,
        likeness: float,
    ) -> list[Alarm]:
        frame = picture.frame
        time, person = frame.time or 0.0, person_id(frame.key, row)
        place = json.dumps([name, *where.name])
        last = where.last.get(name, self._journal.last(place))
        if last is not None and 0 <= time - last < self._cool_down:
            return []
        where.last[name] = time
        alarm = hashlib.sha256(json.dumps([name, person]).encode()).hexdigest()[:32]
        if self._journal.was_told(alarm):
            return []
        event: dict[str, object] = {
            "id": alarm,
            "person": name,
            "likeness": round(likeness, 6),
            "false_match_rate": self._curve.far(likeness) if self._curve else None,
            "source": frame.source,
            "sha256": frame.sha256,
            "number": frame.number,
            "time": frame.time,
            "camera": frame.camera,
            "gallery": self._gallery,
            "row": person,
            "sighting": sightings[row] if sightings else None,
            "box": [round(float(value), 2) for value in people.boxes[row]],
            "score": round(float(people.scores[row]), 6),
        }
        jpeg = encode_image(crop(picture.pixels, people.boxes[row]), ".jpg", frame.source)
        return [Alarm(alarm, place, time, event, jpeg)]
