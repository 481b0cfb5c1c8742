from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
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
    mosaic,
    mosaic_places,
    part_for,
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


def look(scene, colours):
    """Which colours [N, 3] occur in each box [N, 4] of a scene, as the commonest of them."""
    found = []
    for x1, y1, x2, y2 in np.rint(scene.boxes).astype(int):
        pixels = scene.image[y1:y2, x1:x2].reshape(-1, 1, 3).astype(int)
        found.append(int(np.bincount(np.abs(pixels - colours).sum(2).argmin(1)).argmax()))
    return found


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_stay_on_people_in_a_mosaic(seed):
    rng = np.random.default_rng(seed)
    colours = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (30, 30, 30)])
    scenes = []
    for number in range(4):
        scene = make_scene(number + seed % 5, height=int(rng.integers(40, 120)), width=int(rng.integers(60, 150)))
        image = np.full_like(scene.image, 30)
        image[scene.instances > 0] = colours[number]
        things = {"ignored": scene.boxes[:1], "others": scene.boxes[1:2]}
        scenes.append(replace(scene, name=str(number), image=image, **things))

    def make():
        drawn = np.random.default_rng(seed)
        places = mosaic_places((96, 160), drawn)
        parts = [(part_for(scene, place, drawn), place) for scene, place in zip(scenes, places, strict=True)]
        return mosaic(parts, (96, 160), PAD), parts

    made, parts = make()
    assert_same(made, make()[0])
    assert sum(part.stop - part.start for part in (parts[0][1][0], parts[2][1][0])) == 96
    assert made.image.shape == (96, 160, 3)
    people = [len(part.boxes) for part, _ in parts]
    assert len(made.boxes) == sum(people)
    assert min(people) > 0, "a part is taken around somebody"
    assert len(made.ignored) == sum(len(part.ignored) for part, _ in parts)
    assert len(made.others) == sum(len(part.others) for part, _ in parts)
    large = (made.boxes[:, 2:] - made.boxes[:, :2]).min(axis=1) >= 3
    expected = np.repeat(np.arange(4), people)
    assert np.array(look(replace(made, boxes=made.boxes[large]), colours)).tolist() == expected[large].tolist()
    for row in np.flatnonzero(large):
        assert (made.instances == row + 1).any()
    beside = (made.image == PAD).all(2)
    assert beside.sum() < 96 + 160, "hardly any of the canvas is beside the pictures"


def test_a_mosaic_without_masks_for_somebody_has_none():
    scene = make_scene()
    unmasked, empty = replace(scene, instances=None), make_scene(count=1)
    empty = replace(empty, boxes=empty.boxes[:0], identities=empty.identities[:0], instances=None)
    places = mosaic_places((96, 160), np.random.default_rng(0))
    for last, masks in ((unmasked, False), (empty, True), (scene, True)):
        parts = list(zip([scene, scene, scene, last], places, strict=True))
        assert (mosaic(parts, (96, 160), PAD).instances is not None) == masks


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
