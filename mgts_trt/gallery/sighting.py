"""Sightings: one person, followed through the frames of one camera, from when they came to when they left."""

from dataclasses import dataclass, field

from mgts_trt._typing import Floats

PATH = 32
"""Most points of a sighting's path."""

BEST = 3
"""Most rows of `people` that stand for a sighting."""

_PREFIX = "s-"


@dataclass(frozen=True)
class Sighting:
    """A track in a video or live stream.

    Attributes:
        id: Of its first row of `people`, with a prefix (`sighting_id`): the same wherever it is computed.
        likeness: Cosine of its embedding and the probe's, −1 … 1; None where nobody was searched for.
        source: The video or stream; see `Frame`.
        camera: Its name, or None.
        sha256: Of the file; empty for a live stream.
        start: When it began: seconds into a video, Unix seconds in a live stream; None where unknown.
        end: When it ended, or until when it has been followed.
        first: Number of its first frame.
        last: Of its last one.
        frames: In how many frames.
        path: float32 [P, 5]: seconds since `start`, and the box, xyxy, pixels of the frame; evenly thinned to P ≤ 32.
        best: Ids of up to three rows of `people`, the best first: large, well-scored, by themselves, spread over time.
        closed: False while it may go on: in a live stream that is watched, or a video that is not read to its end.
        embedding: float32 [d], of length 1: the mean of those of `best`, weighted by how good they are.
        scores: The detector's least and greatest, 0 … 1.
    """

    id: str
    likeness: float | None
    source: str
    camera: str | None
    sha256: str
    start: float | None
    end: float | None
    first: int
    last: int
    frames: int
    path: Floats
    best: tuple[str, ...]
    closed: bool
    embedding: Floats = field(repr=False)
    scores: tuple[float, float] = (0.0, 1.0)


def sighting_id(person_id: str) -> str:
    """The id of the sighting that begins with a row of `people`."""
    return f"{_PREFIX}{person_id}"


def is_sighting_id(text: str) -> bool:
    """Whether an id is of a sighting; otherwise it is of a person in a frame."""
    return text.startswith(_PREFIX)
