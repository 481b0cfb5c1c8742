"""Sources watched: searched frame by frame, and told of; with a gallery, what is seen is kept there."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mgts_trt.annotating.inputs import Input
from mgts_trt.annotating.readers import read_in_threads
from mgts_trt.choices import DecodeChoice
from mgts_trt.errors import GalleryError, ImageError
from mgts_trt.gallery.entry import Entry
from mgts_trt.gallery.indexing.cameras import Cameras
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.decoder_choice import choose_decoders
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.pictures_read import PicturesRead
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Note, Picture, Read
from mgts_trt.gallery.indexing.sources import Kind, Source
from mgts_trt.gallery.store import Gallery
from mgts_trt.machine.files import file_sha256
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.watching.alarms import Alarm, Alarms
from mgts_trt.watching.tracks import Tracks

_ROOM = 4


@dataclass
class WatchReport:
    """What has been done.

    Attributes:
        frames: Searched.
        people: In them.
        skipped: Frames that the gallery had already, and that were not searched.
        failures: What could not be read or searched.
        interrupted: Whether it was stopped before the sources ended.
    """

    frames: int = 0
    people: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


def watch(
    search: PersonSearch,
    sources: Sequence[Source],
    alarms: Alarms,
    *,
    every: int = 1,
    decode: DecodeChoice = "auto",
    live: LiveOptions | None = None,
    cameras: Cameras | None = None,
    stop: threading.Event | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> WatchReport:
    """Search sources until they end or `stop` is set; one that is bad costs itself alone.

    Args:
        search: An open pipeline.
        sources: Files are read in order, streams side by side.
        alarms: Takes what is found.
        every: Of videos and streams, every n-th frame.
        decode: What decodes videos and live streams, see `choose_decoders`.
        live: How long to watch streams.
        cameras: Takes the state of each live stream.
        stop: When set, no more is read.
        on_note: Called with what the user may want to know at once.

    Raises:
        MgtsError: An alarm cannot be written.
        BackendError: The GPU is to decode and cannot, or the backend fails.
    """
    report, stop, live = WatchReport(), stop or threading.Event(), live or LiveOptions()
    known, tracks, digests = {source.name: source for source in sources}, Tracks(live.silence), _Digests()
    read = Channel[Read](max(_ROOM, search.batch_size), stop)
    inputs = [Input(source.location, source.kind, Path("watched"), source.camera) for source in sources]
    decoders = choose_decoders(decode, search, any(each.kind in ("video", "stream") for each in inputs), on_note)
    readers = read_in_threads(inputs, read, every=every, live=live, given_up=(), cameras=cameras, decode=decoders)
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
                source = known[picture.frame.source]
                frame = replace(picture.frame, sha256=digests.of(source), camera=source.camera)
                sightings = tracks.name(frame, found, source.kind)
                picture = replace(picture, frame=frame)
                alarms.tell(alarms.find(picture, found, sightings, live=source.kind == "stream"))
    finally:
        read.close()
        readers.finish()
    readers.check()
    report.interrupted = stop.is_set()
    return report


def watch_into(
    gallery: Gallery,
    search: PersonSearch,
    sources: Sequence[Source],
    alarms: Alarms,
    *,
    every: int = 1,
    decode: DecodeChoice = "auto",
    live: LiveOptions | None = None,
    cameras: Cameras | None = None,
    stop: threading.Event | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> WatchReport:
    """The same, and everybody seen is kept in a gallery, as `index` does; an alarm is told once its frame is there.

    Frames that the gallery has already are not searched again.

    Raises:
        GalleryError: It is of another space, has no sightings, or cannot be read or written.
        MgtsError: An alarm cannot be written.
        BackendError: The GPU is to decode and cannot, or the backend fails.
    """
    if gallery.sightings is None:
        raise GalleryError(
            f"The gallery {gallery.url} has format {gallery.format}, without sightings, which alarms are of. Run "
            f"`mgts-trt gallery upgrade {gallery.url}` first."
        )
    kinds = {source.name: source.kind for source in sources}
    done = index(
        search,
        sources,
        gallery,
        every=every,
        decode=decode,
        live=live,
        cameras=cameras,
        stop=stop,
        on_note=on_note,
        onlooker=_Onlooker(alarms, kinds),
    )
    return WatchReport(done.frames, done.people, done.skipped, done.failures, done.interrupted)


class _Onlooker:
    """Looks for those watched for in what a gallery takes in."""

    def __init__(self, alarms: Alarms, kinds: dict[str, Kind]) -> None:
        self._alarms, self._kinds = alarms, kinds
        self._found: list[Alarm] = []

    def saw(self, picture: Picture, entry: Entry) -> bool:
        """See `Onlooker`."""
        live = self._kinds[picture.frame.source] == "stream"
        found = self._alarms.find(picture, entry.people, entry.sightings, live=live)
        self._found += found
        return bool(found)

    def stored(self) -> None:
        """See `Onlooker`."""
        found, self._found = self._found, []
        self._alarms.tell(found)


class _Digests:
    """The SHA-256 of files, one file after the other."""

    def __init__(self) -> None:
        self._location, self._sha256 = "", ""

    def of(self, source: Source) -> str:
        """Empty of a stream, of what lies elsewhere, and of a file that has gone since it was read."""
        if source.kind == "stream" or "://" in source.location:
            return ""
        if self._location != source.location:
            try:
                self._location, self._sha256 = source.location, file_sha256(Path(source.location))
            except OSError:
                self._location, self._sha256 = source.location, ""
        return self._sha256


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
