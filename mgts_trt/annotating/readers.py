"""Threads that read ahead: one for all files, and one for each webcam and stream."""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby

from mgts_trt.annotating.inputs import Input
from mgts_trt.annotating.webcam import webcam_frames
from mgts_trt.errors import ImageError, MgtsError, SourceError
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.cameras import Cameras
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.decoder_choice import ON_CPU, Decoders
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Picture, Read, Recounted, ahead
from mgts_trt.gallery.indexing.reading_threads import ReadingThreads
from mgts_trt.gallery.indexing.remote import read_remote
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.indexing.video import Decoder, count_frames, video_frames
from mgts_trt.gallery.indexing.watching import read_stream
from mgts_trt.machine.cpu import available_cores
from mgts_trt.pictures.decoding import decode_picture
from mgts_trt.pictures.image import read_picture


def read_in_threads(
    inputs: Sequence[Input],
    channel: Channel[Read],
    *,
    every: int,
    live: LiveOptions,
    given_up: Container[str],
    cameras: Cameras | None = None,
    decode: Decoders = ON_CPU,
) -> ReadingThreads:
    """Read inputs into a channel: `Picture`s whose frames have the `key` of their input as source, and `Failure`s.

    Args:
        inputs: All there is to read; files are read in order.
        channel: Takes what is read, and is closed after the last of it; reading ends when it is.
        every: Of a video, webcam or stream every n-th frame is taken.
        live: How long to watch webcams and streams.
        given_up: Keys of videos whose further frames nobody wants.
        cameras: Takes the state of each stream.
        decode: What decodes videos and streams.
    """
    cameras = cameras or Cameras()
    files = [each for each in inputs if not each.is_live]
    tasks: list[Callable[[], None]] = []
    for each in inputs:
        if each.kind == "stream":
            source = Source(each.location, "stream", each.camera)
            watch = partial(read_stream, source, channel, every=every, live=live, camera=cameras.add(source))
            tasks.append(partial(watch, decode=decode.streams))
        elif each.kind == "webcam":
            tasks.append(partial(_read_webcam, each, channel, every, live))
    if files:
        tasks.append(partial(_read_files, files, channel, every, given_up, decode.videos))
    return ReadingThreads(tasks, channel, live.patience)


def _read_files(
    files: Sequence[Input], channel: Channel[Read], every: int, given_up: Container[str], decode: Decoder
) -> None:
    workers = min(4, available_cores())
    with ThreadPoolExecutor(workers, "read") as pool:
        for kind, run in groupby(files, key=lambda each: each.kind):
            items: Iterator[Read]
            if kind == "video":
                items = (item for each in run for item in _read_video(each, every, given_up, decode))
            else:
                items = ahead(pool, _read_picture, run, workers)
            if not all(channel.put(item) for item in items):
                return


def _read_picture(each: Input) -> Read:
    try:
        if "://" in each.location:
            return Picture(Frame(each.key), *decode_picture(read_remote(each.location), each.source))
        return Picture(Frame(each.key), *read_picture(each.location))
    except ImageError as error:
        return Failure(each.key, error)
    except MemoryError:
        return Failure(each.key, no_memory(each))


def _read_video(each: Input, every: int, given_up: Container[str], decode: Decoder) -> Iterator[Read]:
    announced = len(range(0, count_frames(each.location), every))
    read = 0
    try:
        for found in video_frames(each.location, lambda number: number % every == 0, decode):
            if each.key in given_up:
                break
            read += 1
            yield Picture(Frame(each.key, found.number, time=found.seconds, cut=found.cut), found.image)
    except SourceError as error:
        yield Failure(each.key, error)
    except MemoryError:
        yield Failure(each.key, no_memory(each))
    yield Recounted(read - announced)


def _read_webcam(each: Input, channel: Channel[Read], every: int, live: LiveOptions) -> None:
    start, taken = time.monotonic(), 0
    try:
        for number, image in enumerate(webcam_frames(each.location)):
            if live.duration is not None and time.monotonic() - start >= live.duration:
                return
            if number % every:
                if channel.ended:
                    return
                continue
            if not channel.put(Picture(Frame(each.key, number, time=round(time.time(), 3)), image)):
                return
            taken += 1
            if taken == live.limit:
                return
    except SourceError as error:
        channel.put(Failure(each.key, error))


def no_memory(each: Input) -> MgtsError:
    """The error of an input that is too large for this machine."""
    return MgtsError(f"{each.source}: there is not enough memory for it. Scale it down first.")
