"""One picture as a gallery knows it: a file, or a frame of a video or a live stream."""

import hashlib
import json
from dataclasses import dataclass

from mgts_trt.urls import without_login


@dataclass(frozen=True)
class Frame:
    """Where people were seen.

    Attributes:
        source: Absolute path, fsspec URL or stream URL; of a URL without user name and password, whichever was given.
        number: Frame of a video from 0, 0 for a picture.
        sha256: Of the file; empty for a live stream.
        time: Seconds from the start of a video; Unix seconds in a live stream; None where unknown.
        camera: A name of the camera, if there is one.
        cut: Whether it begins another scene of its video than the frame that was read before it.
    """

    source: str
    number: int = 0
    sha256: str = ""
    time: float | None = None
    camera: str | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", without_login(self.source))

    @property
    def key(self) -> str:
        """What tells this frame from all others: the same wherever and whenever it is computed.

        Of a file these are its place, its content and the frame's number, so that a file changed in place is new; a
        live stream's frame is told by its time instead of its content.
        """
        told = (self.source, self.number, self.sha256, None if self.sha256 else self.time)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
