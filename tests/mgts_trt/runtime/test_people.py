"""The people of a picture: some of them, in words, and as other libraries take them."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from mgts_trt import MgtsError, PersonSearch
from mgts_trt.errors import ImageError
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle

PLACES = ((0, 1), (1, 3), (1, 5), (0, 4))


@pytest.fixture(scope="module", params=["none", "net", "box"])
def people(request, tmp_path_factory):
    """Four, in a picture three times as large as the canvas."""
    image = np.full((*CANVAS, 3), 40, np.uint8)
    for number, (row, column) in enumerate(PLACES):
        image[row * CELL[0] : (row + 1) * CELL[0], column * CELL[1] : (column + 1) * CELL[1]] = 250 - 20 * number
    with PersonSearch.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")), mode=request.param) as search:
        found = search(image.repeat(3, axis=0).repeat(3, axis=1))
    assert len(found) == 4
    assert len(set(found.scores.tolist())) == 4
    return found


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (np.array([2]), [2]),
        ([True, False, False, True], [0, 3]),
        (np.zeros(4, bool), []),
        ([], []),
        (2, [2]),
        (-1, [3]),
        (np.int64(1), [1]),
    ],
)
def test_some_of_the_people_have_their_own_rows_and_masks(people, rows, wanted) -> None:
    some = people[rows]
    assert len(some) == len(wanted)
    for name in ("boxes", "scores", "embeddings", "instances", "crops", "canvas_boxes"):
        whole, part = getattr(people, name), getattr(some, name)
        assert (part.dtype, part.shape[1:]) == (whole.dtype, whole.shape[1:]), name
        np.testing.assert_array_equal(part, whole[wanted], name)
    if people.masks is None:
        assert some.masks is None
    else:
        np.testing.assert_array_equal(some.masks, people.masks[wanted])
    rows_of = people.to_dict()["people"]
    assert some.to_dict() == {**people.to_dict(), "people": [rows_of[i] for i in wanted]}


def test_by_score_and_again(people) -> None:
    threshold = people.scores[2]
    sure = people[people.scores >= threshold]
    assert sure.scores.tolist() == people.scores[:3].tolist()
    assert sure[sure.scores > threshold].scores.tolist() == people.scores[:2].tolist()
    assert len(people) == 4


def test_one_by_one(people) -> None:
    assert [float(person.scores[0]) for person in people] == people.scores.tolist()


@pytest.mark.parametrize("rows", [4, [0, 4], [True, False], "0", 1.5])
def test_rows_that_are_not_there(people, rows) -> None:
    with pytest.raises(IndexError):
        people[rows]


def test_printed_they_are_three_lines(people) -> None:
    several = people[np.zeros(300, int)]
    for some, count in (
        (people, "4 people"),
        (several, "300 people"),
        (people[0], "1 person"),
        (people[[]], "0 people"),
    ):
        lines = str(some).splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= 120
        assert f"{count} in a picture of {CANVAS[1] * 3}×{CANVAS[0] * 3} pixels" in lines[0]
        assert f"embeddings: [{len(some)}, " in lines[1]
        assert all(stage in lines[2] for stage in some.timings if stage != "total")
        assert "\n" not in repr(some)
    assert f"{people.scores.max():.2f} to {people.scores.min():.2f}" in str(people)
    if people.instance_map is not None:
        half = replace(people, instances=np.array([1, 0, 0, 2], np.int32))
        assert half.boxes_as_masks.tolist() == [False, True, True, False]
        assert "masks: 2 from the mask net, 2 the whole box" in str(half)
    else:
        assert not people.boxes_as_masks.any()
        assert ("masks: their boxes" if people.has_masks else "masks: none") in str(people)


def test_as_detections_of_supervision(people) -> None:
    supervision = pytest.importorskip("supervision")
    found = people.to_supervision()
    assert isinstance(found, supervision.Detections)
    np.testing.assert_array_equal(found.xyxy, people.boxes)
    np.testing.assert_array_equal(found.confidence, people.scores)
    np.testing.assert_array_equal(found.data["embedding"], people.embeddings)
    if people.masks is None:
        assert found.mask is None
    else:
        np.testing.assert_array_equal(found.mask, people.masks)
    sure = found[found.confidence >= people.scores[1]]
    np.testing.assert_array_equal(sure.data["embedding"], people.embeddings[:2])
    assert len(supervision.Detections.merge([found, people[[]].to_supervision()])) == 4
    scene = np.zeros((CANVAS[0] * 3, CANVAS[1] * 3, 3), np.uint8)
    assert supervision.BoxAnnotator().annotate(scene.copy(), found).any(), "its annotators find what they need"
    found.xyxy[:] = 0
    assert people.boxes.any(), "what a tracker writes stays its own"


def test_supervision_is_handed_arrays_of_n_rows(people, monkeypatch) -> None:
    """Where the library is not installed, too: what its constructor is given."""
    stand_in = ModuleType("supervision")
    stand_in.Detections = dict
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    found = people.to_supervision()
    assert set(found) == {"xyxy", "mask", "confidence", "class_id", "data"}
    rows = [found["xyxy"], found["confidence"], found["class_id"], found["data"]["embedding"]]
    assert [len(row) for row in rows] == [4] * 4
    assert found["xyxy"].shape == (4, 4)
    assert found["mask"] is None if people.masks is None else found["mask"].shape == (4, CANVAS[0] * 3, CANVAS[1] * 3)


def test_without_supervision(people, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MgtsError, match="not installed: `pip install supervision`"):
        people.to_supervision()


def test_a_crowd_is_drawn_though_its_masks_together_are_too_large(people, monkeypatch) -> None:
    image = np.zeros((CANVAS[0] * 3, CANVAS[1] * 3, 3), np.uint8)
    drawn = people.draw(image)
    monkeypatch.setattr("mgts_trt.runtime.people._LARGEST_MASKS", 1)
    if people.has_masks:
        with pytest.raises(ImageError, match=r"people\.mask\(i\)"):
            _ = people.masks
    np.testing.assert_array_equal(people.draw(image), drawn)


def test_boxes_without_a_mask_are_drawn_as_such_in_mode_net_alone(people) -> None:
    image = np.zeros((CANVAS[0] * 3, CANVAS[1] * 3, 3), np.uint8)
    nobody = replace(people, instances=np.zeros(4, np.int32))
    legend = (nobody.draw(image)[-18:, :100] == 255).all(-1).sum()
    assert (legend > 100) == (people.instance_map is not None)
