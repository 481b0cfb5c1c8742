"""From files to pictures: what the reading thread of indexing does, and what it and those of streams hand on."""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from mgts_trt._typing import Image
from mgts_trt.choices import Transport
from mgts_trt.errors import ImageError, MgtsError, SourceError
from mgts_trt.gallery.corrections import correct
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.live_stream import LONGEST_WAIT
from mgts_trt.gallery.indexing.remote import read_remote
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.indexing.video import Decoder, VideoFrame, count_frames, decode_on_cpu, video_frames
from mgts_trt.gallery.retracking import is_tracked, retrack
from mgts_trt.gallery.store import Gallery
from mgts_trt.machine.cpu import available_cores
from mgts_trt.machine.files import file_sha256
from mgts_trt.pictures.decoding import decode_picture
from mgts_trt.pictures.image import read_file
from mgts_trt.runtime.cuda.picture import DevicePicture, on_host
from mgts_trt.tracking.tracker import TrackerOptions

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each attempt to open a broken stream again; the last of them before all further ones."""

_CHUNK = 32
"""Picture files read before the gallery is asked which of them it has."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        frame: What the gallery will know it by.
        image: uint8 [H, W, 3], RGB; in the GPU's memory where it was decoded there.
        damage: A sentence, if its file is damaged and `image` is what could be decoded.
    """

    frame: Frame
    image: Image | DevicePicture = field(repr=False)
    damage: str | None = None

    @property
    def pixels(self) -> Image:
        """`image` in host memory; it is copied there once."""
        return on_host(self.image)


@dataclass(frozen=True)
class Failure:
    """A picture, video or stream that could not be read, or not to its end."""

    source: str
    error: MgtsError


@dataclass(frozen=True)
class Skipped:
    """Frames the gallery has already."""

    frames: int


@dataclass(frozen=True)
class LeftOut:
    """Pictures, videos or streams that the gallery was told to forget."""

    sources: int


@dataclass(frozen=True)
class Corrected:
    """Frames the gallery has already, of which another camera is told now."""

    frames: int


@dataclass(frozen=True)
class Recounted:
    """A video has more frames than its container announced, or fewer."""

    frames: int
    """How many more."""


@dataclass(frozen=True)
class Note:
    """Something to tell the user now."""

    text: str


Read: TypeAlias = Picture | Failure | Skipped | LeftOut | Corrected | Recounted | Note


class LiveOptions(NamedTuple):
    """How long to watch live streams, each of them."""

    limit: int | None = None
    """Frames to take."""
    duration: float | None = None
    """Seconds."""
    pauses: Sequence[float] = PAUSES
    """Seconds before each attempt to open it again, the last of them before all further ones."""
    attempts: int | None = None
    """In a row, without a frame, until it is given up; without, never."""
    patience: float = LONGEST_WAIT
    """Seconds without a frame until it counts as down."""
    silence: float = TrackerOptions().patience
    """Seconds without a person after which their sighting ends."""
    transport: Transport = "tcp"
    """How the frames of RTSP come, see `stream_frames`."""


def count_expected(sources: Sequence[Source], every: int) -> int | None:
    """Frames the sources will bring, as far as their containers tell; None with a live stream among them."""
    if any(source.kind == "stream" for source in sources):
        return None
    return sum(_count_announced(source, every) if source.kind == "video" else 1 for source in sources)


def _count_announced(source: Source, every: int) -> int:
    return len(range(0, count_frames(source.location), every))


def read_files(
    sources: Sequence[Source],
    gallery: Gallery,
    channel: Channel[Read],
    *,
    every: int,
    decode: Decoder = decode_on_cpu,
) -> None:
    """Read pictures and videos, in order, but for what the gallery has.

    A file with another content than the gallery knows is read, and its old people are removed from the gallery. Those
    that were forgotten are left out.

    Args:
        sources: No streams.
        gallery: Is asked what it has.
        channel: Takes what is read; reading ends when it does.
        every: Of a video every n-th frame is read.
        decode: What decodes videos.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    workers = min(4, available_cores())
    with ThreadPoolExecutor(workers, "read") as pool:
        for kind, run in groupby(sources, key=lambda source: source.kind):
            items: Iterator[Read]
            if kind == "video":
                items = (item for source in run for item in _read_video(source, gallery, every, decode))
            else:
                items = _read_pictures(run, gallery, pool, workers)
            if not all(channel.put(item) for item in items):
                return


class _Loaded(NamedTuple):
    source: Source
    data: bytes
    sha256: str

    @property
    def frame(self) -> Frame:
        return Frame(self.source.name, sha256=self.sha256, camera=self.source.camera)


def _read_pictures(
    sources: Iterable[Source], gallery: Gallery, pool: ThreadPoolExecutor, workers: int
) -> Iterator[Read]:
    sources = iter(sources)
    while chunk := list(islice(sources, _CHUNK)):
        loaded = []
        for item in pool.map(_load, chunk):
            if isinstance(item, Failure):
                yield item
            else:
                loaded.append(item)
        known = len(loaded)
        loaded = list(gallery.place.tombstones.let_in(loaded, lambda item: (item.source.name, item.sha256)))
        if len(loaded) < known:
            yield LeftOut(known - len(loaded))
        gallery.remove_changed({item.source.name: item.sha256 for item in loaded})
        done = gallery.done([item.frame.key for item in loaded])
        new = [item for item in loaded if item.frame.key not in done]
        if done:
            yield Skipped(len(loaded) - len(new))
            yield Corrected(correct(gallery, [item.frame for item in loaded if item.frame.key in done]))
        yield from ahead(pool, _decode, new, workers)


def _load(source: Source) -> _Loaded | Failure:
    try:
        data = read_remote(source.location) if "://" in source.location else read_file(Path(source.location))
    except ImageError as error:
        return Failure(source.name, error)
    return _Loaded(source, data, hashlib.sha256(data).hexdigest())


def _decode(loaded: _Loaded) -> Picture | Failure:
    try:
        return Picture(loaded.frame, *decode_picture(loaded.data, loaded.source.name))
    except ImageError as error:
        return Failure(loaded.source.name, error)


def ahead(pool: ThreadPoolExecutor, function: Callable[[_T], _R], items: Iterable[_T], depth: int) -> Iterator[_R]:
    """Results in order, of which at most `depth` are in the making or waiting."""
    running: deque[Future[_R]] = deque()
    for item in items:
        if len(running) == depth:
            yield running.popleft().result()
        running.append(pool.submit(function, item))
    while running:
        yield running.popleft().result()


def _read_video(source: Source, gallery: Gallery, every: int, decode: Decoder) -> Iterator[Read]:
    try:
        sha256 = file_sha256(Path(source.location))
    except OSError as error:
        why = f"Cannot read {source.name}: {error.strerror}. Check the path and its permissions."
        yield Failure(source.name, SourceError(why))
        return
    if gallery.place.tombstones.cover(source.name, sha256):
        yield LeftOut(1)
        return
    gallery.remove_changed({source.name: sha256})

    stored, length = gallery.frames_done(source.name, sha256)
    done = {number for number in stored if not number % every}
    if done:
        yield Skipped(len(done))
    if stored:
        yield Corrected(correct(gallery, [Frame(source.name, sha256=sha256, camera=source.camera)]))
    if length is None or not done.issuperset(range(0, length, every)):
        try:
            # Those that are done, too: a cut shows beside the frame before.
            frames = video_frames(source.location, lambda number: not number % every, decode)
            length = yield from _pictures_of(source, sha256, frames, done)
        except SourceError as error:
            yield Failure(source.name, error)
            return
        gallery.end_video(source.name, sha256, length)
    elif not is_tracked(gallery, source.name, sha256):  # cut off after its last frame, or of an older gallery
        retrack(gallery, source.name, sha256)
    yield Recounted(len(range(0, length, every)) - _count_announced(source, every))


def _pictures_of(
    source: Source, sha256: str, frames: Generator[VideoFrame, None, int], done: Collection[int]
) -> Generator[Read, None, int]:
    """A video's frames that are not done; it returns how many there are. Raises `SourceError`, see `video_frames`."""
    while True:
        try:
            found = next(frames)
        except StopIteration as end:
            return int(end.value)
        if found.number not in done:
            frame = Frame(source.name, found.number, sha256, found.seconds, source.camera, found.cut)
            yield Picture(frame, found.image)
