import json

import numpy as np
import pytest

from tests.helpers.training_scenes import check_scene, save
from training.data.datasets.coco_masks import CocoMasks
from training.data.files import DataError, instance_boxes


def square(x1, y1, x2, y2):
    """The corners of a rectangle, as COCO writes polygons."""
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def person(x1, y1, x2, y2, *polygons):
    return {
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "iscrowd": 0,
        "segmentation": [list(polygon) for polygon in polygons] or None,
    }


@pytest.fixture
def photos(tmp_path):
    """Five photos: polygons and a crowd; a picture of instances; boxes alone; nobody, with and without masks."""
    for name in "abcde":
        save(tmp_path / "images" / f"{name}.jpg", 60, 80)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 5:15] = 3
    mask[20:50, 40:50] = 1
    mask[:5, 60:] = 255
    save(tmp_path / "instances" / "b.png", 0, 0, mask)
    crowd = {"bbox": [50, 40, 30, 40], "iscrowd": 1, "segmentation": {"counts": [9], "size": [60, 80]}}
    # The smaller of two who overlap comes first; the larger is in two parts.
    small = person(20, 20, 30, 40, square(20, 20, 30, 40))
    large = person(10, 5, 40, 55, square(10, 5, 25, 55), square(27, 5, 40, 55))
    entries = [
        {"file": "images/e.jpg", "masks_complete": False, "persons": []},
        {"file": "images/a.jpg", "masks_complete": True, "persons": [small, crowd, large],
         "others": [{"category": "chair", "bbox": [60, 30, 30, 20]}]},
        {"file": "images/b.jpg", "masks_complete": False, "persons": [person(0, 0, 9, 9)],
         "instance_png": "instances/b.png"},
        {"file": "images/c.jpg", "masks_complete": False, "persons": [person(70, 20, 90, 50)]},
        {"file": "images/d.jpg", "masks_complete": True, "persons": []},
    ]  # fmt: skip
    (tmp_path / "coco_mini.json").write_text(json.dumps(entries))
    return tmp_path


def test_polygons_become_masks(photos):
    scenes = CocoMasks(photos)
    assert [name[-5] for name in scenes.names] == list("abcde")
    scene = scenes[0]
    check_scene(scene)
    assert scene.boxes.tolist() == [[20, 20, 30, 40], [10, 5, 40, 55]]
    assert scene.ignored.tolist() == [[50, 40, 80, 60]]
    assert scene.others.tolist() == [[60, 30, 80, 50]]
    # OpenCV fills the pixels that the outline touches, too.
    np.testing.assert_allclose(instance_boxes(scene.instances, 2), scene.boxes, atol=1)
    assert scene.instances[30, 22] == scene.instances[30, 28] == 1, "the smaller is in front"
    assert scene.instances[10, 26] == 0, "between the parts of the larger"
    assert np.count_nonzero(scene.instances == 1) == pytest.approx(10 * 20, rel=0.2)


def test_pictures_of_instances_give_boxes_and_masks(photos):
    scene = CocoMasks(photos)[1]
    check_scene(scene)
    assert scene.boxes.tolist() == [[40, 20, 50, 50], [5, 10, 15, 30]]
    np.testing.assert_array_equal(instance_boxes(scene.instances, 2), scene.boxes)
    assert scene.ignored.tolist() == [[60, 0, 80, 5]]


def test_without_masks_there_are_boxes_alone(photos):
    scene = CocoMasks(photos)[2]
    check_scene(scene)
    assert scene.instances is None
    assert scene.boxes.tolist() == [[70, 20, 80, 50]]


@pytest.mark.parametrize("index", [3, 4])
def test_nobody_has_an_empty_mask(photos, index):
    scene = CocoMasks(photos)[index]
    check_scene(scene)
    assert scene.boxes.shape == (0, 4)
    assert not scene.instances.any()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p, e: e[1]["persons"][0].update(segmentation=[[1, 2, 3]]), "polygon of images/a.jpg, person 0"),
        (lambda p, e: e[1]["persons"][2].update(segmentation=[[1, 2, 3, 4]]), "polygon of images/a.jpg, person 1"),
        (lambda p, e: e[1]["persons"][0].update(segmentation=[["x"] * 6]), "polygon of images/a.jpg, person 0"),
        (lambda p, e: e[1]["persons"][0].update(segmentation=None), "a.jpg has complete masks, but its person 0"),
        (
            lambda p, e: e[1]["persons"][0].update(segmentation={"counts": []}),
            "A polygon of images/a.jpg, person 0 is 'counts'",
        ),
        (lambda p, e: e[1].pop("masks_complete"), r"malformed at 1\.masks_complete: Field required"),
        (lambda p, e: (p / "instances" / "b.png").unlink(), r"no .*instances/b\.png"),
        (lambda p, e: save(p / "instances" / "b.png", 0, 0, np.ones((9, 9), np.uint8)), r"b\.png has .*\[9, 9\]"),
        (lambda p, e: (p / "images" / "c.jpg").unlink(), r"no .*images/c\.jpg"),
    ],
)
def test_what_is_wrong_is_named(photos, harm, message):
    path = photos / "coco_mini.json"
    entries = json.loads(path.read_text())
    harm(photos, entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        [scene.name for scene in CocoMasks(photos)]


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"no file .*coco_mini\.json"):
        CocoMasks(tmp_path)


def test_real(shared_data):
    scenes = CocoMasks(shared_data / "coco_mini")
    assert len(scenes) == 384
    with_masks = 0
    for index in range(0, 384, 16):
        scene = scenes[index]
        check_scene(scene)
        if scene.instances is not None and len(scene.boxes):
            extents = instance_boxes(scene.instances, len(scene.boxes))
            seen = np.prod(extents[:, 2:] - extents[:, :2], axis=1) > 400
            overlap = np.minimum(extents, scene.boxes)[:, 2:] - np.maximum(extents, scene.boxes)[:, :2]
            shares = overlap.prod(axis=1) / np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1)
            with_masks += int((shares[seen] > 0.7).sum())
    assert with_masks > 10
