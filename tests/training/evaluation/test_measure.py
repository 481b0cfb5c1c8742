from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import SEPARATE_MODES, Mode
from mgts_trt.pictures.image import write_image
from tests.helpers.cell_scenes import Listed, scene
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.data.protocols import Query
from training.evaluation.measure import (
    embed_scenes,
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


def test_masks_of_those_found(bundle: Bundle, scenes: Listed) -> None:
    result = masks(bundle, scenes)
    assert len(result.ious) == 6
    assert result.mean_iou > 0.95


@pytest.mark.parametrize("mode", SEPARATE_MODES)
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


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_person_search(bundle: Bundle, scenes: Listed, tmp_path: Path, mode: Mode) -> None:
    for item in scenes:
        write_image(tmp_path / f"{item.name}.png", item.image)
    others = [("b.png", None), ("c.png", scenes[2].boxes[0]), ("d.png", None)]
    queries = [Query("a.png", scenes[0].boxes[0], 0, 0, others)]
    steps: list[None] = []
    result = person_search(bundle, tmp_path, queries, mode, on_step=lambda: steps.append(None))
    assert result.mean_average_precision == pytest.approx(1)
    assert len(steps) == picture_count(queries) == 4
