"""Some of the people of a picture."""

import numpy as np
import pytest

from mgts_trt import PersonSearch
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
