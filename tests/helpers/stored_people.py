"""People to store, and a process that stores them: `python -m tests.helpers.stored_people URL FIRST LAST [die]`."""

import os
import signal
import sys
from collections.abc import Sequence

import numpy as np

from mgts_trt.gallery import Entry, Frame, Gallery, Space
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

SPACE = Space(model="mgts", weights="a" * 64, mode="box", gamma=1.3, patch=(256, 128), embedding=8, preset="edge")


def unit(*seed: int, rows: int) -> np.ndarray:
    """Embeddings that a seed determines, float32 [rows, 8]."""
    vectors = np.random.default_rng(seed).normal(size=(rows, SPACE.embedding)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def people_with(embeddings: np.ndarray) -> People:
    n = len(embeddings)
    boxes = np.float32([[10 * i, 5, 10 * i + 8, 25] for i in range(n)]).reshape(n, 4)
    return People(
        boxes=boxes, scores=np.linspace(1, 0.5, n, dtype=np.float32), embeddings=embeddings,
        instances=np.zeros(n, np.int32), crops=boxes.astype(np.int32), letterbox=Letterbox((60, 80), (60, 80)),
        timings={}, canvas_boxes=boxes, instance_map=None,
    )  # fmt: skip


def entry(number: int, people: int | None = None, **frame: object) -> Entry:
    """Frame `number` of a video, with `number % 4` people in it."""
    seen = {"source": "/a/video.mp4", "number": number, "sha256": "5" * 64, "time": number / 2, **frame}
    count = number % 4 if people is None else people
    return Entry(Frame(**seen), people_with(unit(number, rows=count)), [b"jpeg of %d" % i for i in range(count)])


def expected(entries: Sequence[Entry]) -> list[tuple]:
    """What `contents` is to give once entries are stored."""
    return sorted(
        (each.frame.number, tuple(np.round(row, 4).tolist())) for each in entries for row in each.people.embeddings
    )


def contents(gallery: Gallery) -> list[tuple]:
    return sorted((person.number, tuple(np.round(row, 4).tolist())) for person, row in gallery.rows())


def content(gallery: Gallery) -> list[tuple]:
    """Everything stored, bit for bit."""
    return sorted(
        (person.id, person.source, person.number, person.time, person.camera, person.sha256, person.box.tobytes(),
         person.score, person.thumbnail, embedding.tobytes())
        for person, embedding in gallery.rows()
    )  # fmt: skip


def main(url: str, first: str, last: str, *die: str) -> None:
    """Store frames two at a time, saying so; or die between people and frames of the first two."""
    from mgts_trt.gallery import store

    if die:
        store.frame_rows = lambda entries: os.kill(os.getpid(), signal.SIGKILL)
    with Gallery.create(url, SPACE) as gallery:
        for number in range(int(first), int(last), 2):
            print(number, flush=True)
            gallery.add([entry(number), entry(number + 1)])


if __name__ == "__main__":
    main(*sys.argv[1:])
