"""What one client may ask of the service."""

from dataclasses import dataclass

from mgts_trt.pictures.bounded import MEGAPIXEL

MIB = 2**20

MOST_MATCHES = 100
"""A request to `/search` may ask for."""
FURTHEST_MATCH = 1000
"""That may be asked for, page by page: each page is searched anew from the first on."""
MOST_PROBES = 8
"""A request to `/search` may name of each kind: pictures, people, embeddings; of whom it is and of whom it is not."""

SCENE_SIDE = 1600
"""Pixels of a scene's longer side, as it is sent."""
SLOW_BYTES = 65536
"""A body is slow if its last so many bytes took longer than `SLOW_SECONDS`; it then gives way to others."""
SLOW_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of all together.

    Attributes:
        body: Bytes of one request's body.
        pixels: Of one picture, as its header says, before it is decoded.
        files: Pictures in one request.
        requests: Requests whose bodies are read at once, and as many again that wait or run; the next one is refused.
        seconds: From the end of a request's head to the end of its answer, waiting included.
    """

    body: int = 20 * MIB
    pixels: int = 50 * MEGAPIXEL
    files: int = 64
    requests: int = 64
    seconds: float = 30.0
