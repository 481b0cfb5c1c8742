"""Somebody who was found: in a photo, in a frame, or followed through a video."""

import datetime as dt
from dataclasses import dataclass, field

from mgts_trt._typing import Floats, Image


@dataclass(frozen=True)
class Stay:
    """From when to when somebody was followed; see `Sighting`."""

    id: str
    start: float | None
    """Seconds from the start of a video, or Unix time in a live stream; None where unknown."""
    end: float | None
    first: int
    """Numbers of the first and the last frame."""
    last: int
    frames: int
    """In how many frames."""
    closed: bool = True
    """False while it may go on."""


@dataclass(frozen=True)
class Match:
    """Somebody who was compared with the probe.

    Attributes:
        likeness: Cosine of the embedding and the probe's, −1 … 1; of several probes as `combine` says.
        source: Path of the scene or video, or URL of the stream.
        box: xyxy [4], pixels of the scene; of a sighting that of its best frame, as the next five.
        score: The detector's, 0 … 1.
        crop: uint8 [h, w, 3], RGB, the box's content; None where the gallery keeps no pictures.
        number: Frame of a video or stream.
        seconds: From the start of a video, or Unix time in a live stream; None where unknown.
        camera: Its name, or None.
        live: Whether it is from a live stream.
        stay: Of a sighting, from when to when.
        more: Of a sighting, the content of up to two further boxes.
        false_rate: The share of pairs of different people that look at least so much alike; None where the bundle is
            not calibrated.
    """

    likeness: float
    source: str
    box: Floats
    score: float
    crop: Image | None = field(repr=False)
    number: int = 0
    seconds: float | None = None
    camera: str | None = None
    live: bool = False
    stay: Stay | None = None
    more: tuple[Image, ...] = field(default=(), repr=False)
    false_rate: float | None = None

    @property
    def time(self) -> str:
        """As people read it: h:mm:ss.s into a video, or the date and time, UTC, of a live stream; else empty.

        Of a sighting from when to when.
        """
        if self.stay is None or self.stay.start is None:
            return self._told(self.seconds)
        start, end = self._told(self.stay.start), self._told(self.stay.end)
        if start == end or not end:
            return start
        date, _, clock = end.rpartition(" ")
        return f"{start}–{clock if date and start.startswith(date) else end}"

    def to_dict(self) -> dict[str, object]:
        """Everything but the pictures, as JSON takes it."""
        told: dict[str, object] = {
            "likeness": round(self.likeness, 6),
            "source": self.source,
            "number": self.number,
            "camera": self.camera,
            "time": self.seconds,
            "box": [round(float(value), 2) for value in self.box],
            "score": round(self.score, 6),
        }
        if self.false_rate is not None:
            told["false_match_rate"] = float(f"{self.false_rate:.3g}")
        if self.stay is not None:
            told["sighting"] = vars(self.stay)
        return told

    def _told(self, seconds: float | None) -> str:
        if seconds is None:
            return ""
        if self.live:
            return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"
        minutes, seconds = divmod(round(seconds, 1), 60)
        return f"{int(minutes // 60)}:{int(minutes % 60):02}:{seconds:04.1f}"
