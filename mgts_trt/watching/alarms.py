"""From frames to alarms: people are followed, compared with those watched for, and told once a track."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.annotating.inputs import Input
from mgts_trt.annotating.readers import read_in_threads
from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.evaluation.likeness import Likeness
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.pictures_read import PicturesRead
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Note, Picture, Read
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.question import Question
from mgts_trt.machine.files import file_sha256
from mgts_trt.pictures.image import crop, encode_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.tracking.tracker import Tracker
from mgts_trt.watching.alarm_journal import AlarmJournal

_ROOM = 4


@dataclass(frozen=True)
class Watched:
    """Who is watched for: a name, and photos of them."""

    name: str
    question: Question


@dataclass
class WatchReport:
    """What has been done.

    Attributes:
        frames: Searched.
        people: In them.
        alarms: Raised.
        failures: What could not be read or searched.
        interrupted: Whether it was stopped before the sources ended.
    """

    frames: int = 0
    people: int = 0
    alarms: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


class Alarms:
    """Decides, frame by frame, whom to tell of.

    A person is told of once a track, in its first frame that is alike enough. A track that becomes so within
    `cool_down` seconds of an alarm for the same person and camera is not told of.

    Args:
        watched: At least one.
        least: Likeness from which on an alarm is raised.
        journal: Knows what was told before.
        emit: Takes each alarm, as JSON takes it. It is journalled afterwards: a crash repeats one rather than lose it.
        curve: Tells the false-match rate of a likeness, if the bundle is calibrated.
        cool_down: Seconds, by the frames' times.
        crops: Folder for the crops, as JPEG files; without, they are in the alarms, base64.
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
    ) -> None:
        self._watched, self._least, self._journal, self._emit = watched, least, journal, emit
        self._curve, self._cool_down, self._crops = curve, cool_down, crops
        self._trackers: dict[str, Tracker] = {}
        self._content: dict[str, str] = {}
        self._decided: dict[tuple[str, str], set[int]] = {}
        self._last: dict[tuple[str, str], float] = {}

    def add(self, source: Source, picture: Picture, people: People) -> int:
        """Follow the people of a frame; the number of alarms it raised."""
        frame, name = picture.frame, source.name
        time = frame.time or 0.0
        update = self._trackers.setdefault(name, Tracker()).update(time, people)
        raised = 0
        for watched in self._watched:
            decided = self._decided.setdefault((watched.name, name), set())
            if len(people):
                likeness = watched.question.likeness(people.embeddings)
                for row in (-likeness).argsort(kind="stable"):
                    track = int(update.tracks[row])
                    if likeness[row] >= self._least and track not in decided:
                        decided.add(track)
                        raised += self._decide(source, picture, people, int(row), track, watched, float(likeness[row]))
            decided.difference_update(update.ended)
        return raised

    def _decide(
        self,
        source: Source,
        picture: Picture,
        people: People,
        row: int,
        track: int,
        watched: Watched,
        likeness: float,
    ) -> bool:
        frame, live = picture.frame, source.kind == "stream"
        time = frame.time or 0.0
        camera = source.camera or source.name
        place = json.dumps([watched.name, camera])
        sha256 = "" if live else self._sha256(source)
        told = json.dumps([watched.name, source.name, sha256, frame.number, time if live else None, track])
        alarm = hashlib.sha256(told.encode()).hexdigest()[:32]
        # Videos have clocks of their own; live cameras share that of the world, also with earlier runs.
        last = self._journal.last(place) if live else self._last.get((watched.name, source.name))
        if last is not None and 0 <= time - last < self._cool_down:
            return False
        self._last[watched.name, source.name] = time
        if not live and self._journal.was_told(alarm):
            return False
        jpeg = encode_image(crop(picture.image, people.boxes[row]), ".jpg", source.name)
        event: dict[str, object] = {
            "id": alarm,
            "person": watched.name,
            "likeness": round(likeness, 6),
            "false_match_rate": self._curve.far(likeness) if self._curve else None,
            "source": source.name,
            "sha256": sha256,
            "number": frame.number,
            "time": frame.time,
            "camera": source.camera,
            "track": track,
            "box": [round(float(value), 2) for value in people.boxes[row]],
            "score": round(float(people.scores[row]), 6),
        }
        if self._crops is None:
            event["crop"] = base64.b64encode(jpeg).decode()
        else:
            file = self._crops / f"{alarm}.jpg"
            try:
                file.write_bytes(jpeg)
            except OSError as error:
                raise MgtsError(f"Cannot write {file}: {error.strerror}. Name another folder with --crops.") from error
            event["crop_file"] = str(file)
        self._emit(event)
        self._journal.note(alarm=None if live else alarm, place=place if live else None, time=time)
        return True

    def _sha256(self, source: Source) -> str:
        if source.name not in self._content:
            try:
                self._content[source.name] = "" if "://" in source.location else file_sha256(Path(source.location))
            except OSError:  # it has gone since it was read: its name tells it then
                self._content[source.name] = ""
        return self._content[source.name]


def watch(
    search: PersonSearch,
    sources: Sequence[Source],
    alarms: Alarms,
    *,
    every: int = 1,
    live: LiveOptions | None = None,
    stop: threading.Event | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> WatchReport:
    """Search sources until they end or `stop` is set; one that is bad costs itself alone.

    Args:
        search: An open pipeline.
        sources: Files are read in order, streams side by side.
        alarms: Takes what is found.
        every: Of videos and streams, every n-th frame.
        live: How long to watch streams.
        stop: When set, no more is read.
        on_note: Called with what the user may want to know at once.

    Raises:
        MgtsError: An alarm cannot be written.
        BackendError: The backend fails.
    """
    report, stop = WatchReport(), stop or threading.Event()
    known = {source.name: source for source in sources}
    read = Channel[Read](max(_ROOM, search.batch_size), stop)
    inputs = [Input(source.location, source.kind, Path("watched")) for source in sources]
    readers = read_in_threads(inputs, read, every=every, live=live or LiveOptions(), given_up=())
    pictures = _Watching(read, report, on_note)
    try:
        for found in search.stream(pictures, errors="return"):
            picture = pictures.flying.popleft()
            if isinstance(found, ImageError):
                report.failures.append(Failure(picture.frame.source, found))
            elif isinstance(found, Exception):
                raise found
            else:
                report.frames += 1
                report.people += len(found)
                report.alarms += alarms.add(known[picture.frame.source], picture, found)
    finally:
        read.close()
        readers.finish()
    readers.check()
    report.interrupted = stop.is_set()
    return report


class _Watching(PicturesRead):
    """The pictures among what is read; the rest is told."""

    def __init__(self, read: Channel[Read], report: WatchReport, on_note: Callable[[str], None]) -> None:
        super().__init__(read)
        self._report, self._on_note = report, on_note

    def told(self, item: Read) -> None:
        """See `PicturesRead`."""
        match item:
            case Failure():
                self._report.failures.append(item)
            case Note():
                self._on_note(item.text)
