"""From sources to a gallery: reading, inference and writing side by side; it may be cut off at any moment."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from mgts_trt.choices import DecodeChoice
from mgts_trt.errors import GalleryError, ImageError
from mgts_trt.gallery.commits import Commits
from mgts_trt.gallery.entry import Entry, entry_of
from mgts_trt.gallery.indexing.cameras import Cameras, CameraState
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.decoder_choice import Decoders, choose_decoders
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.indexing.pictures_read import PicturesRead
from mgts_trt.gallery.indexing.reading import (
    Corrected,
    Failure,
    LeftOut,
    LiveOptions,
    Note,
    Picture,
    Read,
    Recounted,
    Skipped,
    count_expected,
    read_files,
)
from mgts_trt.gallery.indexing.reading_threads import ReadingThreads
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.indexing.watching import read_stream
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.store import Gallery
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

ROOM = 4
"""Pictures that wait between two of the three steps; or as many as are searched together, if those are more."""


@dataclass
class IndexReport:
    """What indexing has done so far, or in all.

    Attributes:
        frames: Searched, and stored with their people.
        people: In them.
        skipped: Frames the gallery had already.
        corrected: Frames the gallery had already, but of another camera than is told now.
        left_out: Pictures, videos and streams that the gallery was told to forget.
        dropped: Frames of live streams that came faster than they could be searched.
        cameras: How each live stream is doing, in the order of the sources.
        failures: Pictures, videos and streams that could not be read; they are tried again next time.
        damaged: Sentences about pictures that are damaged, and indexed as far as they could be decoded.
        expected: Frames there are in all, of videos not yet read as they announce; None with a live stream.
        seconds: Since the start.
        interrupted: Whether it was stopped before the sources ended.
    """

    frames: int = 0
    people: int = 0
    skipped: int = 0
    corrected: int = 0
    left_out: int = 0
    dropped: int = 0
    cameras: Sequence[CameraState] = ()
    failures: list[Failure] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    expected: int | None = None
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def rate(self) -> float:
        """Frames searched and stored a second."""
        return self.frames / self.seconds if self.seconds else 0.0


class Onlooker(Protocol):
    """Looks on, in the thread that writes, at what a gallery takes in."""

    def saw(self, picture: Picture, entry: Entry) -> bool:
        """Take a frame and its people, before they are stored; True has them stored at once."""

    def stored(self) -> None:
        """Take note that all frames so far are stored."""


def index(
    search: PersonSearch,
    sources: Sequence[Source],
    gallery: Gallery,
    *,
    every: int = 1,
    decode: DecodeChoice = "auto",
    thumbnails: bool = True,
    live: LiveOptions | None = None,
    cameras: Cameras | None = None,
    batch: int = 64,
    latency: float = 2.0,
    optimise: bool = True,
    stop: threading.Event | None = None,
    on_progress: Callable[[IndexReport], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    on_warm_up: Callable[[int, int], None] = lambda done, total: None,
    onlooker: Onlooker | None = None,
) -> IndexReport:
    """Search pictures, videos and live streams, and store who is in them.

    Decoding, inference and writing overlap. Killed at any moment and run again, it goes on where it was: nothing is
    lost and nothing there twice.

    Example:
        ```python
        with Gallery.create("gallery/", Space.of(search.bundle, search.mode)) as gallery:
            report = index(search, find_sources(["photos/"]), gallery)
        ```

    Args:
        search: An open pipeline. Of its `batch_size` pictures those are searched together that have been read already.
        sources: See `find_sources`.
        gallery: Of the pipeline's space.
        every: Of videos and live streams, every n-th frame is taken.
        decode: What decodes videos and live streams, see `choose_decoders`.
        thumbnails: Whether to keep a small picture of each person.
        live: How long to watch live streams; without it, until they end or `stop`.
        cameras: Takes the state of each live stream, for who wants to look at it meanwhile.
        batch: Frames written with one commit.
        latency: Seconds until what has been searched is written, even if a batch is not full.
        optimise: Whether to optimise the gallery now and then, and at the end.
        stop: When set, no more is read; what is in flight is written. A camera that says nothing delays the return by
            `live.patience` at most.
        on_progress: Called after each picture, with the report so far; `frames` and `people` then count what has been
            searched.
        on_warm_up: See `PersonSearch.warm_up`, which comes before the first picture that is searched.
        on_note: Called with what the user may want to know at once, such as a stream that broke.
        onlooker: Sees each frame as it is stored. What it raises ends the run.

    Returns:
        What was done; `frames` and `people` are stored.

    Raises:
        GalleryError: The gallery is of another space, cannot be read or written, or its key for pictures is missing.
        BackendError: The GPU is to decode and cannot, or the backend fails. What was searched before is stored in both
            cases, as far as it can be.
    """
    if every < 1:
        raise GalleryError(f"Every {every}th frame was asked for; expected 1 or more.")
    gallery.space.require_same(Space.of(search.bundle, search.mode), what=f"The gallery {gallery.url}")
    if thumbnails:
        gallery.encryption.require_key()
    decoders = choose_decoders(decode, search, any(source.kind != "picture" for source in sources), on_note)
    start, stop, live = time.monotonic(), stop or threading.Event(), live or LiveOptions()
    report = IndexReport(expected=count_expected(sources, every))
    read = Channel[Read](max(ROOM, search.batch_size), stop)
    cameras = cameras or Cameras()
    readers = _read_in_threads(sources, gallery, read, every, live, cameras, search.batch_size, decoders)
    followers = Followers(gallery, live.silence)
    writer = _Writer(gallery, followers, thumbnails, batch, latency, optimise, stop, onlooker)

    def tell() -> None:
        report.cameras = cameras.states()
        report.dropped = sum(state.dropped for state in report.cameras)
        report.seconds = time.monotonic() - start
        on_progress(report)

    def warm_up() -> None:
        search.warm_up(on_progress=on_warm_up, stop=stop.is_set)

    pictures = _Pictures(read, report, warm_up, tell, on_note)
    try:
        for found in search.stream(pictures, errors="return"):
            picture = pictures.flying.popleft()
            if isinstance(found, ImageError):
                report.failures.append(Failure(picture.frame.source, found))
            elif isinstance(found, Exception):
                raise found
            elif not writer.put(picture, found):
                break
            else:
                report.frames += 1
                report.people += len(found)
                report.damaged += [picture.damage] if picture.damage else []
            tell()
    finally:
        read.close()
        try:
            writer.finish()
        finally:
            readers.finish()
    readers.check()
    tell()
    return replace(
        report,
        frames=writer.frames,
        people=writer.people,
        seconds=time.monotonic() - start,
        interrupted=stop.is_set(),
    )


class _Pictures(PicturesRead):
    """The pictures among what is read; the rest goes into the report.

    Args:
        read: See `PicturesRead`.
        report: Is kept up to date.
        warm_up: Called before the first picture: of a folder that was indexed already, nothing is searched.
        tell: Called after what goes into the report.
        on_note: See `index`.
    """

    def __init__(
        self,
        read: Channel[Read],
        report: IndexReport,
        warm_up: Callable[[], None],
        tell: Callable[[], None],
        on_note: Callable[[str], None],
    ) -> None:
        super().__init__(read)
        self._report, self._warm_up = report, warm_up
        self._tell, self._on_note = tell, on_note
        self._warm = False

    def taken(self, picture: Picture) -> None:
        """See `PicturesRead`."""
        if not self._warm:
            self._warm_up()
            self._warm = True

    def told(self, item: Read) -> None:
        """See `PicturesRead`."""
        report = self._report
        match item:
            case Failure():
                report.failures.append(item)
            case Skipped():
                report.skipped += item.frames
            case LeftOut():
                report.left_out += item.sources
            case Corrected():
                report.corrected += item.frames
            case Recounted() if report.expected is not None:
                report.expected += item.frames
            case Note():
                self._on_note(item.text)
        self._tell()


def _read_in_threads(
    sources: Sequence[Source],
    gallery: Gallery,
    channel: Channel[Read],
    every: int,
    live: LiveOptions,
    cameras: Cameras,
    together: int,
    decode: Decoders,
) -> ReadingThreads:
    """One for all files, and one for each live stream."""
    files = [source for source in sources if source.kind != "stream"]
    asked = [source for source in sources if source.kind == "stream"]
    streams = gallery.place.tombstones.let_in(asked, lambda source: (source.name, ""))
    room = max(1, together // max(1, len(streams)))  # no more frames of each wait than are searched at once
    tasks = [
        partial(
            read_stream,
            source,
            channel,
            every=every,
            live=live,
            camera=cameras.add(source),
            room=room,
            decode=decode.streams,
        )
        for source in streams
    ]
    if files:
        tasks.append(partial(read_files, files, gallery, channel, every=every, decode=decode.videos))
    if len(streams) < len(asked):
        tasks.append(partial(_tell, channel, LeftOut(len(asked) - len(streams))))
    return ReadingThreads(tasks, channel, live.patience)


def _tell(channel: Channel[Read], item: Read) -> None:
    channel.tell(item)


class _Writer:
    """A thread that makes entries and commits them in batches."""

    def __init__(
        self,
        gallery: Gallery,
        followers: Followers,
        thumbnails: bool,
        batch: int,
        latency: float,
        optimise: bool,
        stop: threading.Event,
        onlooker: Onlooker | None,
    ) -> None:
        self._gallery, self._followers, self._onlooker = gallery, followers, onlooker
        self._stop, self._optimise = stop, gallery.optimise if optimise else None
        self._commits = Commits(gallery, self._optimise)
        self._thumbnails, self._batch, self._latency = thumbnails, batch, latency
        self._channel = Channel[tuple[Picture, People]](ROOM)
        self._error: Exception | None = None
        self.frames = self.people = 0
        self._thread = threading.Thread(target=self._run, name="write")
        self._thread.start()

    def put(self, picture: Picture, people: People) -> bool:
        """Hand over a searched picture; False if writing has failed."""
        return self._channel.put((picture, people))

    def finish(self) -> None:
        """Write what is left, and raise what writing failed with."""
        self._channel.close()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._write()
            if self._optimise and self._commits.count and not self._stop.is_set():
                self._optimise()
        except Exception as error:
            self._error = error
            self._channel.close()

    def _write(self) -> None:
        entries: list[Entry] = []
        due = 0.0
        while True:
            wait = max(due - time.monotonic(), 0.0) if entries else self._followers.due()
            item = self._channel.get(wait)
            if item is not None:
                if not entries:
                    due = time.monotonic() + self._latency
                entries.append(self._followers.name(self._entry(*item)))
                if self._onlooker and self._onlooker.saw(item[0], entries[-1]):
                    due = 0.0
            ended = item is None and self._channel.ended and self._channel.empty
            if ended:
                self._followers.finish()
            self._followers.end_silent()
            if ended or not entries or len(entries) >= self._batch or time.monotonic() >= due:
                self._commit(entries)
                entries = []
            if ended:
                return

    def _entry(self, picture: Picture, people: People) -> Entry:
        shown = self._thumbnails and len(people) > 0
        entry = entry_of(picture.pixels if shown else None, picture.frame, people, shown)
        # A batch of entries need not hold as many instance maps, which are as large as their pictures.
        return replace(entry, people=replace(people, instance_map=None))

    def _commit(self, entries: Sequence[Entry]) -> None:
        sightings = self._followers.changed()
        if entries:
            self._commits.add(entries, sightings)
        else:
            self._gallery.store_sightings(sightings)
        self._followers.stored()
        if self._onlooker:
            self._onlooker.stored()
        self.frames += len(entries)
        self.people += sum(len(entry.people) for entry in entries)
