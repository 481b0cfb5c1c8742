"""Labels made of what a teacher sees."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.training_scenes import save
from training.data.datasets.boxes_json import boxes_json, read_entries, write_entries
from training.data.files import DataError
from training.data.teacher import CATEGORIES, PERSON, Sightings
from training.data.teacher_labels import (
    DOUBTFUL,
    NOBODY,
    SURE,
    THING,
    completed,
    label,
    labelled,
)


def seen(*rows: tuple[float, str]) -> Sightings:
    """Sightings of scores and categories, side by side: 10 wide and 20 high."""
    boxes = [(30 * number, 0, 30 * number + 10, 20) for number in range(len(rows))]
    return Sightings(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for score, _ in rows], np.float32),
        np.array([CATEGORIES.index(name) for _, name in rows], np.int64),
    )


@pytest.mark.parametrize(
    ("scores", "people", "ignored"),
    [
        ((), 0, 0),
        ((SURE + 0.01, SURE - 0.01, DOUBTFUL + 0.01, DOUBTFUL - 0.01), 1, 2),
        ((NOBODY + 0.01, DOUBTFUL + 0.01), 0, 2),
        ((NOBODY - 0.01, DOUBTFUL + 0.01), 0, 0),
    ],
)
def test_people_count_are_ignored_or_nobody(scores: tuple[float, ...], people: int, ignored: int) -> None:
    entry = label(seen(*((score, "person") for score in scores), (THING + 0.01, "chair"), (THING - 0.01, "bicycle")))
    assert (len(entry["persons"]), len(entry["ignore"])) == (people, ignored)
    assert [thing["category"] for thing in entry["others"]] == ["chair"]
    if people:
        assert entry["persons"][0] == {"bbox": [0.0, 0.0, 10.0, 20.0], "score": pytest.approx(scores[0], abs=1e-3)}


def test_another_threshold_and_boxes_without_an_area() -> None:
    assert len(label(seen((0.7, "person"), (0.6, "person")), 0.65)["persons"]) == 1
    thin = Sightings(np.array([[5, 5, 5.04, 30]], np.float32), np.array([0.9], np.float32), np.array([PERSON]))
    assert label(thin)["persons"] == []


@pytest.mark.parametrize(("score", "wide", "people"), [(0.6, 10, 0), (0.95, 10, 1), (0.6, 30, 1)])
def test_a_person_in_the_place_of_a_dog_is_doubtful(score: float, wide: int, people: int) -> None:
    dog = CATEGORIES.index("dog")
    boxes = np.array([[0, 0, 10, 20], [0, 0, wide, 20]], np.float32)
    entry = label(Sightings(boxes, np.array([score, 0.6], np.float32), np.array([PERSON, dog])))
    assert (len(entry["persons"]), len(entry["ignore"])) == (people, 1 - people)
    assert entry["others"][0]["category"] == "dog"


def test_labels_by_hand_stay_and_who_they_lack_is_ignored() -> None:
    by_hand = {
        "file": "a.jpg",
        "persons": [{"bbox": [0, 0, 10, 20], "id": 3}],
        "ignore": [[100, 100, 50, 50]],
        "others": [{"category": "bicycle", "bbox": [1, 1, 2, 2]}],
    }
    boxes = ([1, 0, 10, 20], [40, 0, 10, 20], [110, 110, 10, 20])  # known, not known, ignored already
    taught = {"persons": [{"bbox": box, "score": 0.9} for box in boxes], "ignore": [[200, 0, 10, 20]], "others": []}
    entry = completed(by_hand, taught)
    assert entry == {**by_hand, "ignore": [[100, 100, 50, 50], [40, 0, 10, 20]]}
    assert completed({"file": "b.jpg", "persons": []}, taught)["ignore"] == [list(box) for box in boxes]
    assert completed(by_hand, {"persons": [], "ignore": [], "others": []}) == by_hand


class Dozing:
    """Sees one person in every picture."""

    def look(self, image: np.ndarray) -> Sightings:
        return seen((0.9, "person"))


def test_what_is_written_is_read_by_training(tmp_path: Path) -> None:
    names = {tmp_path / f"{name}.jpg": f"{name}.jpg" for name in "bac"}
    for file in names:
        save(file, 50, 60)
    (tmp_path / "b.jpg").write_text("no picture")
    unread: list[str] = []
    entries = {entry["file"]: entry for entry in labelled(Dozing(), names, names, SURE, unread.append)}
    assert len(unread) == 1
    assert "b.jpg" in unread[0]
    write_entries(tmp_path / "boxes.json", entries)
    assert read_entries(tmp_path / "boxes.json") == entries
    scenes = boxes_json(tmp_path)
    assert scenes.names == ["a.jpg", "c.jpg"]
    assert scenes[0].boxes.tolist() == [[0, 0, 10, 20]]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"] == []
    with pytest.raises(DataError, match="no file"):
        read_entries(tmp_path / "none" / "boxes.json")
