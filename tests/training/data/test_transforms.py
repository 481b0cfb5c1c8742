from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.stages import Letterbox
from training.data.files import DataError, instance_boxes
from training.data.scene import Scene
from training.data.transforms import (
    Augmentation,
    crop,
    enlarge_border,
    flip,
    jitter_colour,
    through_camera,
    to_canvas,
)

PAD = (9, 8, 7)


def make_scene(seed=0, height=60, width=90, count=3):
    """Rectangular people in columns of their own, so that each is whole."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((height, width), np.uint16)
    for row in range(count):
        left = row * width // count + int(rng.integers(3))
        top = int(rng.integers(height // 2))
        instances[
            top : top + int(rng.integers(8, height // 2)), left : left + int(rng.integers(8, width // count - 3))
        ] = row + 1
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Scene("s", image, instance_boxes(instances, count), np.arange(count) + 5, instances, camera=2)


def assert_same(a, b):
    assert (a.name, a.camera) == (b.name, b.camera)
    for name in ("image", "boxes", "identities", "instances"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def assert_boxes_are_extents(scene, tolerance=0.0):
    np.testing.assert_allclose(instance_boxes(scene.instances, len(scene.boxes)), scene.boxes, rtol=0, atol=tolerance)
    assert scene.instances.max(initial=0) <= len(scene.boxes)


@pytest.mark.parametrize("canvas_hw", [(48, 80), (120, 200), (60, 90), (90, 60)])
def test_to_canvas_is_the_letterbox_of_deployment(canvas_hw):
    scene = make_scene()
    canvas, letterbox = to_canvas(scene, canvas_hw, PAD)
    expected = Letterbox((60, 90), canvas_hw)
    assert letterbox == expected
    np.testing.assert_array_equal(canvas.image, expected.apply(scene.image, PAD))
    np.testing.assert_array_equal(canvas.boxes, expected.to_canvas(scene.boxes))
    np.testing.assert_array_equal(canvas.identities, scene.identities)
    assert canvas.instances.shape == canvas_hw
    # Nearest neighbour: an edge is off by half a pixel of the coarser of the two grids.
    assert_boxes_are_extents(canvas, tolerance=0.5 * max(1, *expected.scale) + 1e-3)
    height, width = expected.content_hw
    assert not canvas.instances[height:].any()
    assert not canvas.instances[:, width:].any()


def test_to_canvas_without_masks():
    scene = make_scene()
    scene = Scene(scene.name, scene.image, scene.boxes, scene.identities)
    assert to_canvas(scene, (48, 80), PAD)[0].instances is None


def test_flip_mirrors_pixels_and_labels():
    scene = make_scene()
    mirrored = flip(scene)
    np.testing.assert_array_equal(mirrored.image, scene.image[:, ::-1])
    assert_boxes_are_extents(mirrored)
    np.testing.assert_array_equal(mirrored.identities, scene.identities)
    assert_same(flip(mirrored), scene)


def test_crop_drops_whom_it_cuts_away():
    instances = np.zeros((20, 40), np.uint16)
    instances[0:20, 0:10] = 1  # 2 of its 10 columns remain
    instances[5:15, 10:20] = 2
    instances[0:20, 26:36] = 3  # 4 of its 10 columns remain
    scene = Scene("s", np.zeros((20, 40, 3), np.uint8), instance_boxes(instances, 3), np.array([7, 8, 9]), instances)
    part = crop(scene, (8, 0, 30, 20), min_visible=0.3)
    assert part.identities.tolist() == [8, 9]
    assert part.boxes.tolist() == [[2, 5, 12, 15], [18, 0, 22, 20]]
    assert_boxes_are_extents(part)
    assert not part.instances[:, :2].any()
    assert crop(scene, (8, 0, 30, 20), min_visible=0.2).identities.tolist() == [7, 8, 9]


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 91, 5), (5, 5, 5, 9), (0, 0, 5, 61)])
def test_crop_refuses_a_window_outside(window):
    with pytest.raises(DataError, match="does not lie in the 90x60 picture s"):
        crop(make_scene(), window)


def test_enlarge_border_keeps_the_picture_at_the_top_left():
    scene = make_scene()
    larger = enlarge_border(scene, (70, 120), PAD)
    np.testing.assert_array_equal(larger.image[:60, :90], scene.image)
    assert (larger.image[60:] == PAD).all()
    assert (larger.image[:, 90:] == PAD).all()
    assert_boxes_are_extents(larger)
    with pytest.raises(DataError, match="90x60 picture s does not fit into 80x70"):
        enlarge_border(scene, (70, 80), PAD)


@given(seed=st.integers(0, 2**32 - 1), zoom=st.tuples(st.floats(0.3, 1), st.floats(1, 4)))
def test_augmentation_keeps_labels_true(seed, zoom):
    scene = make_scene(seed % 7)
    augmentation = Augmentation(zoom=zoom)
    first = augmentation(scene, np.random.default_rng(seed), PAD)
    assert_same(first, augmentation(scene, np.random.default_rng(seed), PAD))
    assert_boxes_are_extents(first)
    assert set(first.identities) <= set(scene.identities)
    assert first.image.shape[:2] == first.instances.shape


def test_augmentation_gives_people_of_many_sizes():
    scene, rng = make_scene(), np.random.default_rng(0)
    shares = []
    for _ in range(100):
        augmented = Augmentation(zoom=(0.5, 2.0))(scene, rng, PAD)
        shares.append(augmented.image.shape[0] / scene.image.shape[0])
    assert min(shares) < 0.6
    assert max(shares) > 1.8


def test_augmentation_crops_a_scene_without_people():
    scene = make_scene(count=1)
    empty = Scene("e", scene.image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), None)
    augmented = Augmentation(zoom=(2.0, 2.0))(empty, np.random.default_rng(0), PAD)
    assert augmented.image.shape == (30, 45, 3)
    assert augmented.instances is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zoom": (0.0, 1.0)}, "zoom"),
        ({"zoom": (2.0, 1.0)}, "zoom"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"colour": -1}, "col"),
    ],
)
def test_augmentation_refuses(change, message):
    with pytest.raises(DataError, match=message):
        Augmentation(**change)


def test_jitter_colour_of_strength_zero_changes_nothing():
    image = make_scene().image
    np.testing.assert_array_equal(jitter_colour(image, np.random.default_rng(0), 0), image)


def test_jitter_colour_changes_colours_and_nothing_else():
    image = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    results = [jitter_colour(image, np.random.default_rng(seed), 1.0) for seed in range(8)]
    assert len({tuple(result[0, 0]) for result in results}) > 6
    for result in results:
        assert result.dtype == np.uint8
        assert (result == result[0, 0]).all()  # no place is treated differently


def test_ignored_boxes_and_things_move_as_people_do():
    scene = make_scene()
    scene = replace(scene, ignored=scene.boxes.copy(), others=scene.boxes.copy())
    window = (0, 0, 34, 60)
    for made in (
        flip(scene),
        crop(scene, window, min_visible=0),
        to_canvas(scene, (120, 200), PAD)[0],
        enlarge_border(scene, (70, 95), PAD),
    ):
        np.testing.assert_array_equal(made.ignored, made.boxes)
        np.testing.assert_array_equal(made.others, made.boxes)
        assert len(made.ignored)
    assert len(crop(scene, window, min_visible=0).ignored) < len(scene.ignored), "one lies outside"
    cut = crop(scene, window, min_visible=1)
    assert len(cut.boxes) == 1
    assert len(cut.ignored) == 2, "whatever is left of one stays ignored"
    assert cut.others.tolist() == cut.boxes.tolist(), "of a thing a part is as little a thing as of a person"


def test_through_camera_does_what_a_camera_does():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:40] = (200, 120, 40)
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert through_camera(image, rng, 0) is image
    assert rng.bit_generator.state == state
    made = [through_camera(image, np.random.default_rng(seed), 0.5) for seed in range(12)]
    assert any(np.array_equal(picture, image) for picture in made)
    assert 5 < len({picture.tobytes() for picture in made}) < 13
    for picture in made:
        assert picture.dtype == np.uint8
        assert np.abs(picture.astype(int) - image).mean() < 12
        assert picture[15:25, 25:35, 0].mean() > picture[15:25, 25:35, 2].mean() + 100, "red is red still"
    again, twice = (through_camera(image, np.random.default_rng(3), 1) for _ in range(2))
    np.testing.assert_array_equal(again, twice)


@pytest.mark.parametrize("camera", [-0.1, 1.1])
def test_a_share_that_is_none(camera):
    with pytest.raises(DataError, match="camera is"):
        Augmentation(camera=camera)
