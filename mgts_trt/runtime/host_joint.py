"""Person search on the host with the joint network: one session, and no second stage."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.runtime.clock import Clock
from mgts_trt.runtime.host_pipeline import HostPipeline, Picture
from mgts_trt.runtime.joint_people import joint_people, rows_of_given
from mgts_trt.runtime.modes import mode_dimension
from mgts_trt.runtime.people import People
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.pictures import run_picture, run_pictures
from mgts_trt.runtime.stream import closed


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

    def _place(self, picture: Picture, clock: Clock) -> None:
        """Set the embeddings of a picture's given boxes."""
        with clock("joint"):
            picture.embeddings = self._describe_given(picture)

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
