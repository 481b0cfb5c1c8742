"""Person search on the host with the joint network: one session, and no second stage."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import ImageError
from mgts_trt.runtime.clock import Clock
from mgts_trt.runtime.host_pipeline import HostPipeline, Picture, refuse_stream
from mgts_trt.runtime.modes import mode_dimension
from mgts_trt.runtime.people import People, given_boxes
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.pictures import run_picture, run_pictures
from mgts_trt.runtime.stream import closed
from mgts_trt.stages import Letterbox, expand_boxes

LEAST_OVERLAP = 0.5
"""IoU with a given box from which a person found is the one in the box: that from which boxes are matched in search
(Sec. 4.2). For networks that describe no given boxes."""


class JointHostPipeline(HostPipeline):
    """See `mgts_trt.runtime.protocol.Pipeline`. It holds no state between pictures.

    Args:
        bundle: An opened bundle.
        sessions: The mode's model, on any backend; it stays open when this is closed.
        batch: See `PersonSearch.open`.
    """

    def __init__(self, bundle: Bundle, sessions: Mapping[str, Session], *, batch: int = 1) -> None:
        self._bundle, self._mode, self._pictures = bundle, "joint", batch
        self._sessions = {"joint": sessions["joint"]}

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """See `Pipeline.embed`."""
        refuse_stream(stream)
        clock = Clock()
        picture = self._letterbox(image, clock)
        picture.boxes = given_boxes(boxes, picture.letterbox)
        picture.scores = np.ones(len(picture.boxes), np.float32)
        with clock("joint"):
            picture.embeddings = self._describe_given(picture)
        return self._describe([picture], clock)[0]

    def warm_up(self, depth: int, on_progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """See `Pipeline.warm_up`: the one model once."""
        if not self._sessions:
            raise closed()
        if not stop():
            self._run("joint", {name: spec.zeros(1) for name, spec in self._session("joint").inputs.items()})
            on_progress(1, 1)

    def _detect(self, pictures: Sequence[Picture], top: int | None, clock: Clock) -> None:
        """Set each picture's boxes, scores and embeddings."""
        with clock("joint"):
            rows = run_pictures(self._session("joint"), [picture.canvas for picture in pictures])
            for picture, found in zip(pictures, rows, strict=True):
                chosen = self._select(found, picture.letterbox, top)
                picture.choose(chosen, found)
                picture.embeddings = found["embeddings"][chosen]

    def _describe(self, pictures: Sequence[Picture], clock: Clock) -> list[People]:
        """What has been found already, as people."""
        timings = clock.stop(len(pictures))
        return [joint_people(each.letterbox, each.boxes, each.scores, each.embeddings, timings) for each in pictures]

    def _describe_given(self, picture: Picture) -> Floats:
        """Embeddings of a picture's boxes, [N, d]."""
        session = self._session("joint")
        if "rois" not in session.inputs:
            found = run_picture(session, picture.canvas)
            return found["embeddings"][rows_of_given(found["boxes"], found["scores"], picture.boxes, picture.letterbox)]
        places = int(session.inputs["rois"].shape[1])
        described = np.empty((len(picture.boxes), mode_dimension(self._bundle.manifest, "joint")), np.float32)
        for first in range(0, len(described), places):
            some = picture.boxes[first : first + places]
            described[first : first + places] = run_picture(session, picture.canvas, some)["roi_embeddings"][
                : len(some)
            ]
        return described


def rows_of_given(boxes: Array, scores: Array, given: Floats, letterbox: Letterbox) -> Array:
    """Which of the people found stand in given boxes, for a network that describes nobody else.

    Args:
        boxes: Found, [K, 4], xyxy, canvas pixels.
        scores: Theirs, [K]; 0 for padding.
        given: [N, 4], likewise, cut to the picture.
        letterbox: Names the boxes in pixels of the picture where it fails.

    Returns:
        int64 [N]: of each given box, the row it overlaps most.

    Raises:
        ImageError: A given box overlaps nobody by `LEAST_OVERLAP`.
    """
    rows = np.empty(len(given), np.int64)
    found = np.flatnonzero(scores > 0)
    for number, box in enumerate(given):
        overlaps = _overlaps(box, boxes[found])
        best = float(overlaps.max(initial=0))
        if best < LEAST_OVERLAP:
            said = [round(float(value), 1) for value in letterbox.to_image(box[None])[0]]
            raise ImageError(
                f"This bundle's joint network describes only people it finds itself, and nobody it finds is where the "
                f"box {said} is: the greatest IoU is {best:.2f}, and {LEAST_OVERLAP} is expected. Draw the box closer "
                "around the person, or take a bundle whose joint network has the input rois."
            )
        rows[number] = found[overlaps.argmax()]
    return rows


def joint_people(
    letterbox: Letterbox, boxes: Floats, scores: Floats, embeddings: Array, timings: Mapping[str, float]
) -> People:
    """People as the joint network describes them: of boxes on the canvas [N, 4], without masks or patches."""
    return People(
        boxes=letterbox.to_image(boxes),
        scores=scores,
        embeddings=np.asarray(embeddings, np.float32),
        instances=np.zeros(len(boxes), np.int32),
        crops=expand_boxes(boxes, 1.0, letterbox.content_hw).astype(np.int32),
        letterbox=letterbox,
        timings=dict(timings),
        canvas_boxes=boxes,
        instance_map=None,
        has_masks=False,
    )


def _overlaps(box: Array, boxes: Array) -> Array:
    """IoU of a box [4] with each of `boxes` [K, 4], float64 [K]; 0 for boxes without an area."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    shared = sides.prod(axis=1, dtype=np.float64)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1, dtype=np.float64)
    union = areas + np.prod(box[2:] - box[:2], dtype=np.float64) - shared
    overlaps: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
