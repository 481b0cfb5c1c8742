from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import MODES, Mode
from mgts_trt.errors import MetricError
from mgts_trt.pictures.image import write_image
from tests.helpers.cell_scenes import Listed, scene
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.data.protocols import Query
from training.evaluation.measure import (
    detection,
    embed_scenes,
    judge_detector,
    masks,
    person_search,
    picture_count,
    reid,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def scenes() -> Listed:
    return Listed(
        [
            scene("a", {(0, 1): 0, (1, 4): 1}, camera=0),
            scene("b", {(0, 2): 1, (1, 0): 2}, camera=1),
            scene("c", {(1, 3): 0, (0, 5): 2}, camera=2),
            scene("d", {}, camera=0),
        ]
    )


def test_detection_finds_everybody(bundle: Bundle, scenes: Listed) -> None:
    steps: list[None] = []
    result = detection(bundle, scenes, on_step=lambda: steps.append(None))
    assert (result.average_precision, result.recall, result.ground_truths) == (1, 1, 6)
    assert len(steps) == len(scenes)


def test_detection_counts_who_is_missed(bundle: Bundle) -> None:
    result = detection(bundle, Listed([scene("a", {(0, 1): 0, (1, 4): 1}, hide=1)]))
    assert result.recall == pytest.approx(0.5)
    assert result.average_precision == pytest.approx(0.5)


def test_masks_of_those_found(bundle: Bundle, scenes: Listed) -> None:
    result = masks(bundle, scenes)
    assert len(result.ious) == 6
    assert result.mean_iou > 0.95


@pytest.mark.parametrize("mode", MODES)
def test_reid_of_the_same_looks(bundle: Bundle, scenes: Listed, mode: Mode) -> None:
    result = reid(bundle, scenes, mode)
    assert result.counted == 6, "every identity under every camera"
    assert result.mean_average_precision == pytest.approx(1)
    assert result.cmc(1) == 1


def test_an_unknown_camera_is_one_of_its_own(bundle: Bundle) -> None:
    twice = Listed([scene("a", {(0, 1): 0}), scene("b", {(1, 1): 0}), scene("c", {(1, 1): 3})])
    _, identities, cameras = embed_scenes(bundle, twice, "box")
    assert identities.tolist() == [0, 0, 3]
    assert len(set(cameras.tolist())) == 3
    result = reid(bundle, twice, "box")
    assert result.ground_truths.max() == 1, "the query itself is no result"


def test_gamma_changes_what_is_seen(bundle: Bundle, scenes: Listed) -> None:
    tight, wide = (embed_scenes(bundle, scenes, "box", gamma=gamma)[0] for gamma in (1.0, 1.5))
    assert np.abs(tight - wide).max() > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_person_search(bundle: Bundle, scenes: Listed, tmp_path: Path, mode: Mode) -> None:
    for item in scenes:
        write_image(tmp_path / f"{item.name}.png", item.image)
    others = [("b.png", None), ("c.png", scenes[2].boxes[0]), ("d.png", None)]
    queries = [Query("a.png", scenes[0].boxes[0], 0, 0, others)]
    steps: list[None] = []
    result = person_search(bundle, tmp_path, queries, mode, on_step=lambda: steps.append(None))
    assert result.mean_average_precision == pytest.approx(1)
    assert len(steps) == picture_count(queries) == 4


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
