import numpy as np
import pytest

from tests.helpers.training_scenes import check_scene, save
from training.data.datasets.person_masks import PersonMasks
from training.data.files import DataError, instance_boxes
from training.losses.detection import IGNORED, NEGATIVE, POSITIVE, Truth, assign


@pytest.fixture
def photos(tmp_path):
    """A person of 80 rows in the middle, and one of 40 at the edge."""
    for name, (y1, y2, x1, x2) in {"b": (60, 140, 100, 130), "a": (0, 40, 0, 20)}.items():
        save(tmp_path / "images" / f"{name}.jpg", 200, 240)
        mask = np.zeros((200, 240), np.uint8)
        mask[y1:y2, x1:x2] = 255
        save(tmp_path / "masks" / f"{name}.png", 0, 0, mask)
    return tmp_path


def test_a_scene_is_the_person_and_what_is_around(photos):
    scenes = PersonMasks(photos)
    assert scenes.names == ["a.jpg", "b.jpg"]
    for scene, size, box in zip(scenes, ((50, 30), (120, 70)), ([0, 0, 20, 40], [20, 20, 50, 100]), strict=True):
        check_scene(scene)
        assert scene.image.shape[:2] == size
        assert scene.boxes.tolist() == [box]
        np.testing.assert_array_equal(instance_boxes(scene.instances, 1), scene.boxes)


def test_whoever_stands_beside_the_person_is_no_background(photos):
    torch = pytest.importorskip("torch", reason="labels are PyTorch's")
    scene = PersonMasks(photos)[1]
    truth = Truth(torch.from_numpy(scene.boxes), torch.from_numpy(scene.ignored))
    boxes = {
        (20, 20, 50, 98): POSITIVE,
        (20, 20, 40, 50): NEGATIVE,  # a part of the person is no person
        (0, 20, 20, 90): IGNORED,
        (50, 0, 70, 120): IGNORED,
        (25, 0, 45, 18): IGNORED,
        (25, 101, 45, 119): IGNORED,
    }
    found = assign(torch.tensor([*boxes], dtype=torch.float32), truth, positive=0.7, negative=0.3)
    assert found.labels.tolist() == [*boxes.values()]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "masks" / "a.png").unlink(), r"a\.jpg has no mask"),
        (lambda p: save(p / "masks" / "a.png", 0, 0, np.zeros((200, 240), np.uint8)), r"a\.png is black"),
        (lambda p: save(p / "masks" / "a.png", 0, 0, np.ones((9, 9), np.uint8)), r"a\.png has .*\[9, 9\]"),
        (lambda p: [file.unlink() for file in (p / "images").iterdir()], r"holds no \*\.jpg"),
    ],
)
def test_what_is_wrong_is_named(photos, harm, message):
    harm(photos)
    with pytest.raises(DataError, match=message):
        PersonMasks(photos)[0]


def test_real(shared_data):
    scenes = PersonMasks(shared_data / "ccp_person_masks")
    assert len(scenes) == 176
    for index in range(0, 176, 16):
        scene = scenes[index]
        check_scene(scene)
        assert 0.15 < (scene.instances == 1).mean() < 0.7
