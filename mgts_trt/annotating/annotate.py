"""From inputs to annotated files: reading, inference and writing side by side."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.annotating.inputs import Input
from mgts_trt.annotating.readers import no_memory, read_in_threads
from mgts_trt.annotating.results import Film, Wanted, write_photo
from mgts_trt.choices import DecodeChoice
from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.decoder_choice import choose_decoders
from mgts_trt.gallery.indexing.pictures_read import PicturesRead
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Note, Picture, Read, Recounted, count_expected
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

_ROOM = 4
"""Pictures that wait between two of the three steps; or as many as are searched together, if those are more."""


@dataclass
class Report:
    """What has been done so far, or in all.

    Attributes:
        photos: Searched.
        frames: Of videos, webcams and streams, searched.
        people: In both.
        tracks: Of all videos, webcams and streams; known at the end.
        dropped: Frames of streams that came faster than they could be searched.
        milliseconds: That the searches took, by their own account.
        failures: What could not be read, searched or written, or not to its end.
        damaged: Sentences about photos that are damaged, and searched as far as they could be decoded.
        expected: Photos and frames there are in all, as videos announce it; None with a webcam or stream.
        seconds: Since the start.
        interrupted: Whether it was stopped before the inputs ended.
    """

    photos: int = 0
    frames: int = 0
    people: int = 0
    tracks: int = 0
    dropped: int = 0
    milliseconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    expected: int | None = None
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def searched(self) -> int:
        """Photos and frames."""
        return self.photos + self.frames

    @property
    def rate(self) -> float:
        """Photos and frames searched a second."""
        return self.searched / self.seconds if self.seconds else 0.0


def annotate(
    search: PersonSearch,
    inputs: Sequence[Input],
    out: Path,
    *,
    wanted: Wanted | None = None,
    every: int = 1,
    decode: DecodeChoice = "auto",
    top: int | None = None,
    live: LiveOptions | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Report], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Report:
    """Search inputs, and write who was found; an input that is bad costs itself alone.

    Args:
        search: An open pipeline. Of its `batch_size` pictures those are searched together that have been read already.
        inputs: See `find_inputs`.
        out: Folder of results, see `Input.results`.
        wanted: What to write; by default as `Wanted` has it.
        every: Of videos, webcams and streams, every n-th frame is searched and written.
        decode: What decodes videos and live streams, see `choose_decoders`.
        top: See `PersonSearch.__call__`.
        live: How long to watch webcams and streams; without it, until they end or `stop`.
        stop: When set, no more is read; what is in flight is written, and all files are whole. A camera that says
            nothing delays the return by `live.patience` at most.
        on_progress: Called after each picture, with the report so far.
        on_note: Called with what the user may want to know at once, such as a stream that broke.

    Raises:
        ModuleNotFoundError: Videos are to be drawn, and the package av is not installed.
        BackendError: The GPU is to decode and cannot, or the backend fails.
        MgtsError: The results of a webcam or stream cannot be written. What was found before is whole in both cases.
    """
    wanted, live = wanted or Wanted(), live or LiveOptions()
    if wanted.draw and any(each.is_film for each in inputs):
        import mgts_trt.annotating.mp4  # noqa: F401  # before anything is searched for nothing
    start, stop = time.monotonic(), stop or threading.Event()
    decoders = choose_decoders(decode, search, any(each.kind in ("video", "stream") for each in inputs), on_note)
    report = Report(expected=_expected(inputs, every))
    read = Channel[Read](max(_ROOM, search.batch_size), stop)
    writer = _Writer(inputs, out, wanted)
    readers = read_in_threads(inputs, read, every=every, live=live, given_up=writer.given_up, decode=decoders)

    def tell() -> None:
        report.seconds = time.monotonic() - start
        on_progress(report)

    pictures = _Pictures(read, report, writer, tell, on_note, every)
    try:
        for found in search.stream(pictures, top=top, errors="return"):
            picture = pictures.flying.popleft()
            each = writer.inputs[picture.frame.source]
            if isinstance(found, MemoryError):
                writer.fail(each, no_memory(each))
            elif isinstance(found, ImageError):
                writer.fail(each, found)
            elif isinstance(found, Exception):
                raise found
            elif not writer.put(picture, found):
                break
            else:
                report.photos += not each.is_film
                report.frames += each.is_film
                report.people += len(found)
                report.milliseconds += found.timings.get("total", 0.0)
                report.damaged += [picture.damage] if picture.damage else []
            tell()
    finally:
        read.close()
        try:
            writer.finish()
        finally:
            readers.finish()
    readers.check()
    report.failures, report.tracks = writer.failures, writer.tracks
    report.seconds, report.interrupted = time.monotonic() - start, stop.is_set()
    return report


def _expected(inputs: Sequence[Input], every: int) -> int | None:
    if any(each.is_live for each in inputs):
        return None
    return count_expected([Source(each.location, "video" if each.is_film else "picture") for each in inputs], every)


class _Pictures(PicturesRead):
    """The pictures among what is read; the rest is told."""

    def __init__(
        self,
        read: Channel[Read],
        report: Report,
        writer: "_Writer",
        tell: Callable[[], None],
        on_note: Callable[[str], None],
        every: int,
    ) -> None:
        super().__init__(read)
        self._report, self._writer = report, writer
        self._tell, self._on_note, self._every = tell, on_note, every
        self._numbers: dict[str, int] = {}

    def taken(self, picture: Picture) -> None:
        """Count what was dropped before it; see `PicturesRead`."""
        source, number = picture.frame.source, picture.frame.number
        if self._writer.inputs[source].is_live:
            before = self._numbers.get(source, number - self._every)
            self._report.dropped += max((number - before) // self._every - 1, 0)
            self._numbers[source] = number

    def told(self, item: Read) -> None:
        """See `PicturesRead`."""
        match item:
            case Failure():
                self._writer.fail(self._writer.inputs[item.source], item.error)
            case Recounted() if self._report.expected is not None:
                self._report.expected += item.frames
            case Note():
                self._on_note(item.text)
        self._tell()


class _Writer:
    """A thread that writes what is found.

    Attributes:
        inputs: By their keys.
        given_up: Keys of videos whose results cannot be written.
        failures: What could not be read, searched or written.
        tracks: In all films.
    """

    def __init__(self, inputs: Sequence[Input], out: Path, wanted: Wanted) -> None:
        self.inputs = {each.key: each for each in inputs}
        self.given_up: set[str] = set()
        self.failures: list[Failure] = []
        self.tracks = 0
        self._out, self._wanted = out, wanted
        self._films: dict[str, Film] = {}
        self._channel = Channel[tuple[Picture, People]](_ROOM)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="write")
        self._thread.start()

    def put(self, picture: Picture, people: People) -> bool:
        """Hand over a searched picture; False if writing has failed."""
        return self._channel.put((picture, people))

    def fail(self, each: Input, error: MgtsError) -> None:
        """Take note that an input failed; of a video that is told once."""
        if each.is_film and any(failure.source == each.source for failure in self.failures):
            return
        self.failures.append(Failure(each.source, error))

    def finish(self) -> None:
        """Write what is left, and raise what writing failed with."""
        self._channel.close()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for picture, people in self._channel:
                self._write(self.inputs[picture.frame.source], picture, people)
        except Exception as error:
            self._error = error
            self._channel.close()
        finally:
            for key in list(self._films):
                self._close(key)

    def _write(self, each: Input, picture: Picture, people: People) -> None:
        key = each.key
        if key in self.given_up:
            return
        if not each.is_live:
            # Files come one after the other.
            for other in [name for name in self._films if name != key and not self.inputs[name].is_live]:
                self._close(other)
        try:
            if each.is_film:
                if key not in self._films:
                    self._films[key] = Film(each, self._out, self._wanted)
                self._films[key].add(picture, people)
            else:
                write_photo(each, self._out, picture, people, self._wanted)
        except MemoryError:
            self._give_up(each, no_memory(each))
        except OSError as error:
            place = each.results(self._out)[0].parent
            self._give_up(each, MgtsError(f"{each.source}: cannot write to {place}: {error.strerror}."))
        except MgtsError as error:
            self._give_up(each, error)

    def _give_up(self, each: Input, error: MgtsError) -> None:
        if each.is_live:  # nothing would end it
            raise error
        self.fail(each, error)
        if each.is_film:
            self.given_up.add(each.key)

    def _close(self, key: str) -> None:
        film = self._films.pop(key)
        self.tracks += film.tracks
        try:
            film.close()
        except OSError as error:
            told = MgtsError(f"{self.inputs[key].source}: cannot be written to its end: {error.strerror}.")
            self.fail(self.inputs[key], told)
        except MgtsError as error:
            self.fail(self.inputs[key], error)
