"""A bundle's detector on labelled pictures: whom it finds, and what its scores mean."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import MetricError
from mgts_trt.evaluation.boxes import box_area, match_boxes
from mgts_trt.evaluation.metrics import average_precision
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.runtime.session.pictures import run_picture
from mgts_trt.stages import Letterbox
from training.data.scene import IGNORED_COVER, Scene, Scenes


@dataclass(frozen=True)
class DetectorResult:
    """How well a detector finds people, at IoU 0.5. A number that the scenes cannot give is NaN.

    Attributes:
        average_precision: Over all its rows, however faint, 0 … 1.
        recall: Of the same, 0 … 1.
        shown_precision: Share of the people shown, those from the threshold on, who are people, 0 … 1.
        shown_recall: Share of the people who are shown, 0 … 1.
        false_people: People shown in a picture without people, in the mean.
        ground_truths: People labelled.
        empty_pictures: Pictures in which nobody is labelled, and nothing ignored.
    """

    average_precision: float
    recall: float
    shown_precision: float
    shown_recall: float
    false_people: float
    ground_truths: int
    empty_pictures: int

    def summary(self) -> dict[str, float]:
        """The numbers there are, under the headings of tables and JSON."""
        named = {
            "AP": self.average_precision,
            "recall": self.recall,
            "shown precision": self.shown_precision,
            "shown recall": self.shown_recall,
            "false people": self.false_people,
        }
        return {name: number for name, number in named.items() if not math.isnan(number)}


@dataclass(frozen=True, eq=False)
class Detections:
    """All D detections in some pictures, each judged; those on ignored boxes, which count neither way, left out.

    Attributes:
        scores: float64 [D].
        people: bool [D], whether each is a person whom no better one had found, at IoU 0.5.
        pictures: int64 [D], in which picture.
        ground_truths: int64 [P], people labelled in each picture.
        empty: bool [P], whether nobody is labelled in a picture, and nothing ignored.
    """

    scores: NDArray[np.float64]
    people: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    ground_truths: NDArray[np.int64]
    empty: NDArray[np.bool_]

    @property
    def people_labelled(self) -> int:
        """In all pictures."""
        return int(self.ground_truths.sum())

    def shown(self, threshold: float) -> "Detections":
        """Those from a score on. Whoever is found by one is found by no fainter one, so that all stay as judged."""
        kept = self.scores >= threshold
        return Detections(self.scores[kept], self.people[kept], self.pictures[kept], self.ground_truths, self.empty)

    def result(self, threshold: float) -> DetectorResult:
        """All numbers, at a score from which a detection is shown."""
        shown, anybody = self.shown(threshold), self.people_labelled > 0
        return DetectorResult(
            average_precision=self.average_precision(),
            recall=self.recall(),
            shown_precision=shown.precision() if anybody else math.nan,
            shown_recall=shown.recall(),
            false_people=shown.false_people(),
            ground_truths=self.people_labelled,
            empty_pictures=int(self.empty.sum()),
        )

    def precision(self) -> float:
        """Share of them who are people; NaN of none."""
        return float(self.people.mean()) if len(self.people) else math.nan

    def recall(self) -> float:
        """Share of the people who are found; NaN where nobody is labelled."""
        total = self.people_labelled
        return float(self.people.sum()) / total if total else math.nan

    def false_people(self) -> float:
        """Of a picture without people, in the mean; NaN without such pictures."""
        return float(self.empty[self.pictures].sum() / self.empty.sum()) if self.empty.any() else math.nan

    def average_precision(self) -> float:
        """0 … 1; NaN where nobody is labelled."""
        total = self.people_labelled
        return average_precision(self.scores, self.people, total) if total else math.nan


def detection(
    bundle: Bundle, scenes: Scenes, *, model: str = "detector", on_step: Callable[[], None] = lambda: None
) -> DetectorResult:
    """The bundle's detector, or its joint network, on labelled scenes, at the bundle's threshold.

    Raises:
        MetricError: There are no scenes, or a number is not finite.
    """
    return judge_detector(
        bundled_detector(bundle, model), scenes, bundle.manifest.thresholds.detection, on_step=on_step
    )


def bundled_detector(bundle: Bundle, model: str = "detector") -> Callable[[Image], tuple[Array, Array]]:
    """What finds boxes [N, 4] (xyxy, pixels of the picture) and scores [N] in a picture: the graph of `model`, FP32."""
    session = OnnxRuntimeSession(bundle, model, "fp32")

    def detect(image: Image) -> tuple[Array, Array]:
        letterbox = Letterbox((image.shape[0], image.shape[1]), bundle.manifest.canvas)
        found = run_picture(session, letterbox.apply(image, bundle.manifest.pad))
        rows = found["scores"] > 0
        return letterbox.to_image(letterbox.clip(found["boxes"][rows])), found["scores"][rows]

    return detect


def judge_detector(
    detect: Callable[[Image], tuple[Array, Array]],
    scenes: Scenes,
    threshold: float,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> DetectorResult:
    """A detector on labelled scenes, at a score from which a detection is shown; see `judge`.

    Raises:
        MetricError: There are no scenes, or a number is not finite.
    """
    return judge(detect, scenes, on_step=on_step).result(threshold)


def judge(
    detect: Callable[[Image], tuple[Array, Array]], scenes: Scenes, *, on_step: Callable[[], None] = lambda: None
) -> Detections:
    """All detections in labelled scenes. What lies on an ignored box and matches nobody is left out.

    Args:
        detect: Boxes [N, 4] (xyxy, pixels of the picture) and scores [N] of a picture.
        scenes: The pictures and their people.
        on_step: Called after each scene.

    Raises:
        MetricError: There are no scenes, or a number is not finite.
    """
    scores, people, pictures = [np.zeros(0)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
    ground_truths, empty = [], []
    for number in range(len(scenes)):
        scene = scenes[number]
        found, strength = detect(scene.image)
        if not (np.isfinite(found).all() and np.isfinite(strength).all()):
            raise MetricError(
                f"What was found in {scene.name} is not finite. Look for the network or precision that made it."
            )
        order = np.argsort(-strength, kind="stable")
        found, strength = found[order], strength[order]
        right = match_boxes(found, scene.boxes) >= 0
        kept = right | ~_on_ignored(found, scene)
        scores.append(strength[kept].astype(np.float64))
        people.append(right[kept])
        pictures.append(np.full(int(kept.sum()), number, np.int64))
        ground_truths.append(len(scene.boxes))
        empty.append(not len(scene.boxes) and not len(scene.ignored))
        on_step()
    if not ground_truths:
        raise MetricError("There are 0 scenes to measure a detector on; at least 1 was expected. Give another dataset.")
    return Detections(
        np.concatenate(scores),
        np.concatenate(people),
        np.concatenate(pictures),
        np.array(ground_truths, np.int64),
        np.array(empty, np.bool_),
    )


def _on_ignored(boxes: Array, scene: Scene) -> NDArray[np.bool_]:
    """Which boxes lie on an ignored one by `IGNORED_COVER` of their area, [N]."""
    if not len(boxes) or not len(scene.ignored):
        return np.zeros(len(boxes), np.bool_)
    low = np.maximum(boxes[:, None, :2], scene.ignored[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], scene.ignored[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2).max(axis=1)
    return np.asarray(shared >= IGNORED_COVER * box_area(boxes), np.bool_)
