import json

import numpy as np
import pytest

from tests.helpers.training_scenes import check_scene, save
from training.data.datasets.boxes_json import boxes_json
from training.data.files import DataError
from training.data.scene import UNKNOWN


@pytest.fixture
def photos(tmp_path):
    """Three photos, listed in another order than by name: two people and a crowd, nobody, and one beyond the edge."""
    for name in "abc":
        save(tmp_path / "images" / f"{name}.jpg", 60, 80)
    entries = [
        {"file": "images/c.jpg", "width": 80, "height": 60, "persons": [{"bbox": [70, 10, 30, 70], "id": 4}]},
        {
            "file": "images/a.jpg",
            "width": 80,
            "height": 60,
            "persons": [{"bbox": [1.5, 2, 10, 20]}, {"bbox": [30, 5, 12.5, 40]}, {"bbox": [90, 5, 10, 40]}],
            "ignore": [[50, 0, 20, 30], [-10, 50, 15, 20], [-10, 0, 5, 5]],
        },
        {
            "file": "images/b.jpg",
            "persons": [],
            "others": [
                {"category": "bicycle", "bbox": [1, 1, 9, 9]},
                {"bbox": [70, -5, 90, 25]},
                {"bbox": [80, 0, 5, 5]},
            ],
        },
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    return tmp_path


def test_boxes_are_read_and_cut_to_the_picture(photos):
    scenes = boxes_json(photos)
    assert scenes.names == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    first, nobody, last = (scenes[index] for index in range(3))
    for scene in (first, nobody, last):
        check_scene(scene)
        assert scene.instances is None
    assert first.boxes.tolist() == [[1.5, 2, 11.5, 22], [30, 5, 42.5, 45]]
    assert first.ignored.tolist() == [[50, 0, 70, 30], [0, 50, 5, 60]]
    assert nobody.boxes.shape == nobody.ignored.shape == first.others.shape == (0, 4)
    assert nobody.others.tolist() == [[1, 1, 10, 10], [70, 0, 80, 20]]
    assert last.boxes.tolist() == [[70, 10, 80, 60]]
    assert last.identities.tolist() == [UNKNOWN]
    assert scenes.identity_count == 0


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda entries: entries[1]["persons"][0].pop("bbox"), r"malformed at 1\.persons\.0\.bbox: Field required"),
        (lambda entries: entries[0]["persons"][0].update(bbox=[1, 2, 3]), r"malformed at 0\.persons\.0\.bbox"),
        (lambda entries: entries[0]["persons"][0].update(bbox=[1, 2, 0, 3]), r"malformed .*positive width and height"),
        (lambda entries: entries[1].update(ignore=[[1, 2, 3, -4]]), r"malformed .*positive width and height"),
        (lambda entries: entries[2]["others"][0].pop("bbox"), r"malformed at 2\.others\.0\.bbox: Field required"),
        (lambda entries: entries.append(entries[0]), "lists images/c.jpg twice"),
        (lambda entries: entries[0].update(file="images/d.jpg"), "no picture .*images/d.jpg"),
        (lambda entries: entries.clear(), "list no picture"),
    ],
)
def test_what_is_wrong_is_named(photos, harm, message):
    path = photos / "boxes.json"
    entries = json.loads(path.read_text())
    harm(entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        boxes_json(photos)


@pytest.mark.parametrize("content", ["", "{}", "[1", "null"])
def test_a_file_that_is_none(photos, content):
    (photos / "boxes.json").write_text(content)
    with pytest.raises(DataError, match=r"boxes\.json is malformed at"):
        boxes_json(photos)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"no file .*boxes\.json"):
        boxes_json(tmp_path)


@pytest.mark.parametrize(
    ("name", "pictures", "people"),
    [("coco_person", 800, 9038), ("inria_person", 614, 1240), ("negatives", 509, 0)],
)
def test_real(shared_data, name, pictures, people):
    scenes = boxes_json(shared_data / name)
    assert len(scenes) == pictures
    assert sum(len(image.boxes) for image in scenes.images) == people
    for index in np.linspace(0, pictures - 1, 5).astype(int):
        check_scene(scenes[int(index)])
