"""A gallery of two people followed by three cameras, and of one of them in a photo: its networks need not run."""

from pathlib import Path

import cv2
import numpy as np

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.gallery import Entry, Frame, Gallery, Space
from mgts_trt.gallery.retracking import retrack
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox
from tests.helpers.tiny_bundle import make_tiny_bundle

NOON = 1_764_331_200.0
"""Of a day, Unix seconds."""
FRAMES = 12
"""In which each sighting is seen, two a second."""
DOOR, YARD, CLIP, PHOTO = (
    "rtsp://camera.example/door",
    "rtsp://camera.example/yard",
    "/clips/hall.mp4",
    "/photos/red.jpg",
)
RED, BLUE = (200, 40, 40), (40, 60, 200)

_SIZE = (480, 640)


def fill(folder: Path) -> tuple[Path, Path]:
    """A tiny bundle, and a gallery of its embeddings.

    Red passes the door twice, blue once meanwhile; red passes the yard a minute later; both are in the clip; and red is
    in a photo, too.
    """
    bundle = make_tiny_bundle(folder / "bundle")
    space = Space.of(Bundle.open(bundle), "net")
    red, blue = _unit(1, space.embedding), _unit(2, space.embedding)
    entries = [
        *_pass(DOOR, NOON, "door", {RED: red, BLUE: blue}),
        *_pass(DOOR, NOON + 120, "door", {RED: _near(red, 3)}),
        *_pass(YARD, NOON + 60, "yard", {RED: _near(red, 4)}),
        *_pass(CLIP, 0.0, "hall", {BLUE: _near(blue, 5), RED: _near(red, 6)}, sha256="5" * 64),
        _entry(Frame(PHOTO, 0, "6" * 64, None, "photos"), {RED: _near(red, 7)}, 0),
    ]
    with Gallery.create(folder / "gallery", space) as gallery:
        gallery.add(entries)
        for source, sha256 in ((DOOR, ""), (YARD, ""), (CLIP, "5" * 64)):
            retrack(gallery, source, sha256)
    return bundle, folder / "gallery"


def _pass(
    source: str, start: float, camera: str, who: dict[tuple[int, int, int], np.ndarray], sha256: str = ""
) -> list[Entry]:
    return [_entry(Frame(source, number, sha256, start + number / 2, camera), who, number) for number in range(FRAMES)]


def _entry(frame: Frame, who: dict[tuple[int, int, int], np.ndarray], number: int) -> Entry:
    n = len(who)
    left = np.float32([40 + 300 * i + 12 * number for i in range(n)])
    boxes = np.stack([left, np.full(n, 60), left + 80, np.full(n, 300)], axis=1).astype(np.float32)
    people = People(
        boxes=boxes, scores=np.full(n, 0.9, np.float32), embeddings=np.stack(list(who.values())),
        instances=np.zeros(n, np.int32), crops=boxes.astype(np.int32), letterbox=Letterbox(_SIZE, _SIZE),
        timings={}, canvas_boxes=boxes, instance_map=None,
    )  # fmt: skip
    return Entry(frame, people, [_crop(colour, number) for colour in who])


def _crop(colour: tuple[int, int, int], step: int) -> bytes:
    """A figure of a colour, whose legs tell the step."""
    image = np.full((192, 64, 3), 225, np.uint8)
    cv2.circle(image, (32, 28), 16, (230, 190, 160), -1)
    cv2.rectangle(image, (14, 48), (50, 116), colour, -1)
    for side in (-1, 1):
        cv2.line(image, (32, 116), (32 + side * (6 + 3 * (step % 4)), 186), (30, 30, 40), 12)
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def _unit(seed: int, length: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=length)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _near(vector: np.ndarray, seed: int) -> np.ndarray:
    """Somewhat another: a cosine of about 0.9."""
    other = vector + 0.5 * _unit(seed, len(vector))
    return (other / np.linalg.norm(other)).astype(np.float32)
