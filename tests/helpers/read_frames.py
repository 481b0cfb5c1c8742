"""Frames of a live stream, so many and no more."""

from collections.abc import Callable, Generator
from typing import Any

from mgts_trt.gallery.indexing.live_stream import LiveFrame, StreamEnd


def read_frames(
    frames: Generator[LiveFrame, None, StreamEnd], count: int, at: Callable[[int], object] = lambda _: None
) -> tuple[list[Any], StreamEnd | None]:
    """So many frames, and the stream's end if it ends before; `at` is called with how many there are after each."""
    found: list[Any] = []
    while len(found) < count:
        try:
            found.append(next(frames).image)
        except StopIteration as end:
            return found, end.value
        at(len(found))
    frames.close()
    return found, None
