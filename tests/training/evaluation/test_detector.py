"""A detector judged on labelled pictures, against numbers known beforehand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import MetricError
from tests.helpers.cell_scenes import Listed, scene
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.evaluation.detector import detection, judge, judge_detector


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


def test_detection_finds_everybody(bundle: Bundle) -> None:
    scenes = Listed([scene("a", {(0, 1): 0, (1, 4): 1}), scene("b", {(0, 2): 1, (1, 0): 2, (1, 3): 0}), scene("c", {})])
    steps: list[None] = []
    result = detection(bundle, scenes, on_step=lambda: steps.append(None))
    assert (result.average_precision, result.recall, result.ground_truths) == (1, 1, 5)
    assert len(steps) == len(scenes)


def test_detection_counts_who_is_missed(bundle: Bundle) -> None:
    result = detection(bundle, Listed([scene("a", {(0, 1): 0, (1, 4): 1}, hide=1)]))
    assert result.recall == pytest.approx(0.5)
    assert result.average_precision == pytest.approx(0.5)


CELLS = np.array([[x * 16, y * 32, x * 16 + 16, y * 32 + 32] for y in (0, 1) for x in range(6)], np.float32)


def finds(*rows: int) -> Callable[[Image], tuple[Array, Array]]:
    """A detector that sees the same cells in each picture, each fainter than the one before: 0.9, 0.8, …"""
    return lambda image: (CELLS[list(rows)], np.array([0.9 - 0.1 * n for n in range(len(rows))], np.float32))


def test_what_is_shown_is_judged_at_the_threshold() -> None:
    scenes = Listed([scene("a", {(0, 0): 0, (0, 1): 1, (0, 2): 2})])
    result = judge_detector(finds(0, 5, 1, 2), scenes, 0.65)  # shows a person, nobody, and a person
    assert (result.recall, result.shown_recall) == pytest.approx((1, 2 / 3))
    assert result.shown_precision == pytest.approx(2 / 3)
    assert result.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert result.ground_truths == 3
    assert result.summary().keys() == {"AP", "recall", "shown precision", "shown recall"}


def test_false_people_are_counted_where_nobody_is() -> None:
    crowd = replace(scene("c", {}), ignored=CELLS[:1])
    scenes = Listed([scene("a", {}), scene("b", {}), crowd])
    result = judge_detector(finds(3, 4, 5), scenes, 0.75)
    assert result.false_people == 2
    assert result.empty_pictures == 2, "a crowd is not nobody"
    assert result.summary() == {"false people": 2}
    assert judge_detector(finds(3, 4, 5), scenes, 0.95).false_people == 0


def test_detections_on_ignored_boxes_count_neither_way() -> None:
    people = scene("a", {(0, 0): 0, (0, 1): 1})
    seen = finds(0, 1, 3)
    assert judge_detector(seen, Listed([people]), 0.5).shown_precision == pytest.approx(2 / 3)
    part = CELLS[3] + np.array((0, 0, 0, -15), np.float32)  # 17 of 32 rows
    assert judge_detector(seen, Listed([replace(people, ignored=part[None])]), 0.5).shown_precision == 1
    less = CELLS[3] + np.array((0, 0, 0, -17), np.float32)
    assert judge_detector(seen, Listed([replace(people, ignored=less[None])]), 0.5).shown_precision < 1
    # Who is found counts, also in front of a crowd.
    result = judge_detector(seen, Listed([replace(people, ignored=np.array([[0, 0, 96, 64]], np.float32))]), 0.5)
    assert (result.recall, result.shown_precision, result.average_precision) == (1, 1, 1)


def test_no_scenes_measure_nothing() -> None:
    with pytest.raises(MetricError, match="0 scenes"):
        judge_detector(finds(0), Listed([]), 0.5)


def test_what_is_not_finite_is_refused() -> None:
    for boxes, scores in ((CELLS[:1] * np.nan, np.array([0.5])), (CELLS[:1], np.array([np.inf]))):
        with pytest.raises(MetricError, match="in a is not finite"):
            judge(lambda image, boxes=boxes, scores=scores: (boxes, scores), Listed([scene("a", {(0, 0): 0})]))


def test_shown_ones_stay_as_judged() -> None:
    """To judge the shown ones alone gives the same as to show some of those judged."""
    people = scene("a", {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 5): 3})
    order = (3, 0, 0, 1, 5, 2, 11, 2)
    everyone = judge(finds(*order), Listed([people, scene("b", {})]))
    for count in range(len(order) + 1):
        alone = judge(finds(*order[:count]), Listed([people, scene("b", {})]))
        shown = everyone.shown(0.95 - 0.1 * count)
        assert shown.people[shown.pictures == 0].tolist() == alone.people[alone.pictures == 0].tolist()
        assert shown.false_people() == alone.false_people() == count
