from dataclasses import replace

import numpy as np
import pytest

from mgts_trt.pictures.image import read_image, write_image
from training.data.backgrounds import EmptyScenes, street_scenes
from training.data.composer import Composer, Composition
from training.data.cutouts import cut_out, find_people, resize_cutout
from training.data.datasets.splits import Joined, Subset, market1501_split, penn_fudan_split
from training.data.files import DataError, instance_boxes
from training.data.picture import Picture, draw_perspective
from training.data.scene import UNKNOWN, Scene

SMALL = Composition(size=(120, 200), people=(2, 5), heights=(0.3, 0.8), decoys=1, colour=0.0)
COLOURS = ((220, 30, 30), (30, 220, 30), (30, 30, 220))


class Listed:
    """Scenes in memory."""

    def __init__(self, *scenes, identity_count=0):
        self.scenes, self.identity_count = scenes, identity_count

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]


def crop_of(identity, camera, mask=None, colour=(128, 128, 128)):
    """A crop whose person, an ellipse, has one colour."""
    if mask is None:
        y, x = np.mgrid[:128, :64]
        mask = ((y - 64) / 58) ** 2 + ((x - 32) / 24) ** 2 < 1
    image = np.full((128, 64, 3), 128, np.uint8)
    image[mask] = colour
    box = np.array([[0, 0, 64, 128]], np.float32)
    return Scene(f"{identity}-{camera}", image, box, np.array([identity]), mask.astype(np.uint16), camera)


def crowd():
    """Identities 0 … 5; even ones are seen by camera 1, odd ones by camera 2; colour tells identity % 3."""
    return Listed(*[crop_of(i, 1 + i % 2, colour=COLOURS[i % 3]) for i in range(6) for _ in range(2)], identity_count=6)


def empty_background(height=150, width=260):
    none = np.zeros((0, 4), np.float32)
    return Scene("road", np.full((height, width, 3), 90, np.uint8), none, np.zeros(0, np.int64))


def peopled_background():
    instances = np.zeros((150, 260), np.uint16)
    instances[40:120, 30:60] = 1
    instances[60:140, 150:190] = 2
    image = np.full((150, 260, 3), 90, np.uint8)
    return Scene("street", image, instance_boxes(instances, 2), np.array([3, 4]), instances, camera=9)


def composer(length=12, seed=0, people=None, background=None, composition=SMALL):
    backgrounds = Listed(background or empty_background())
    return Composer(people or crowd(), backgrounds, length=length, seed=seed, composition=composition)


def assert_same(a, b):
    assert (a.name, a.camera) == (b.name, b.camera)
    for name in ("image", "boxes", "identities", "instances"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def assert_labels_agree(scene):
    assert scene.image.dtype == np.uint8
    assert scene.instances.dtype == np.uint16
    assert scene.boxes.dtype == np.float32
    assert scene.image.shape[:2] == scene.instances.shape
    assert len(scene.boxes) == len(scene.identities)
    assert np.unique(scene.instances).tolist() in (
        list(range(len(scene.boxes) + 1)),
        list(range(1, len(scene.boxes) + 1)),
    )
    for row, box in enumerate(scene.boxes):
        ys, xs = np.nonzero(scene.instances == row + 1)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


# The composer


def test_scenes_depend_on_seed_and_index_alone():
    first, second = composer(), composer()
    backwards = {i: second[i] for i in reversed(range(12))}
    np.random.seed(1)  # noqa: NPY002 - global state must not matter
    for index in range(12):
        assert_same(first[index], backwards[index])
    assert_same(composer(length=5)[4], first[4])


def test_scenes_differ_between_indices_and_seeds():
    scenes = [composer()[0], composer()[1], composer(seed=1)[0]]
    assert len({scene.name for scene in scenes}) == 3
    assert len({scene.image.tobytes() for scene in scenes}) == 3


@pytest.mark.parametrize("background", [empty_background(), peopled_background(), empty_background(300, 200)])
def test_labels_agree_with_pixels(background):
    for scene in map(composer(background=background).__getitem__, range(12)):
        assert_labels_agree(scene)
        assert scene.image.shape[0] == 120 or scene.image.shape[1] == 200
        assert scene.image.shape[0] <= 120
        assert scene.image.shape[1] <= 200


def at_the_edge(**change):
    """Shares of the people in scenes who touch the picture's left or right edge, and its lower one."""
    scenes = [composer(length=40, composition=replace(SMALL, decoys=0, **change))[index] for index in range(40)]
    beside = [(s.boxes[:, 0] == 0) | (s.boxes[:, 2] == s.image.shape[1]) for s in scenes]
    below = [s.boxes[:, 3] == s.image.shape[0] for s in scenes]
    return np.concatenate(beside).mean(), np.concatenate(below).mean()


def test_edges_cut_off_as_many_as_asked_for():
    nobody, few, many = at_the_edge(outside=0, deepest=0.9), at_the_edge(), at_the_edge(outside=0.6, deepest=1.6)
    assert nobody == (0, 0)
    assert many[0] > few[0] > 0
    assert many[1] > few[1] > 0


def test_identity_and_camera_are_kept():
    seen = set()
    for scene in map(composer(length=20).__getitem__, range(20)):
        assert scene.camera in (1, 2)
        identities = scene.identities.tolist()
        assert len(set(identities)) == len(identities)
        for row, identity in enumerate(identities):
            assert 1 + identity % 2 == scene.camera
            colour = np.median(scene.image[scene.instances == row + 1], axis=0)
            assert int(colour.argmax()) == identity % 3
            seen.add(identity)
    assert seen == set(range(6))


def test_people_of_the_background_are_unknown_and_stay():
    composition = Composition(size=(120, 200), people=(0, 0), heights=(0.3, 0.8), decoys=0, colour=0.0)
    scenes = [composer(background=peopled_background(), composition=composition)[i] for i in range(12)]
    assert max(len(scene.boxes) for scene in scenes) == 2
    for scene in scenes:
        assert_labels_agree(scene)
        assert set(scene.identities.tolist()) <= {UNKNOWN}


def test_decoys_are_not_labelled():
    composition = Composition(size=(120, 200), people=(0, 0), decoys=3, colour=0.0)
    textured = empty_background(300, 500)
    textured.image[:] = np.random.default_rng(0).integers(0, 256, textured.image.shape)
    changed = 0
    bare = replace(composition, decoys=0)
    for index in range(6):
        scene = composer(background=textured, composition=composition)[index]
        assert len(scene.boxes) == 0
        assert not scene.instances.any()
        changed += not np.array_equal(scene.image, composer(background=textured, composition=bare)[index].image)
    assert changed


def test_hidden_people_are_not_labelled():
    """The limit changes labels, not pixels; a stricter one only takes labels away."""
    strict, lenient = (
        composer(composition=Composition(size=(120, 200), people=(5, 5), heights=(0.5, 0.8), decoys=0, hidden=hidden))
        for hidden in (0.1, 0.95)
    )
    fewer = 0
    for index in range(12):
        a, b = strict[index], lenient[index]
        np.testing.assert_array_equal(a.image, b.image)
        assert set(a.identities) <= set(b.identities)
        assert_labels_agree(a)
        fewer += len(a.identities) < len(b.identities)
    assert fewer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"seed": -1}, "seed -1"),
        ({"backgrounds": []}, "no backgrounds"),
        ({"people": Listed(empty_background())}, "None of the 1 scenes holds a person"),
    ],
)
def test_composer_refuses(arguments, message):
    arguments = {"people": crowd(), "backgrounds": Listed(empty_background()), "length": 1, "seed": 0, **arguments}
    with pytest.raises(DataError, match=message):
        Composer(arguments.pop("people"), arguments.pop("backgrounds"), **arguments)


def test_background_with_people_needs_masks():
    scene = peopled_background()
    scene = Scene(scene.name, scene.image, scene.boxes, scene.identities)
    with pytest.raises(DataError, match="background street shows 2 people but has no masks"):
        composer(background=scene)[0]


def test_backgrounds_may_be_files(tmp_path):
    write_image(tmp_path / "road.png", empty_background().image)
    scenes = Composer(crowd(), [tmp_path / "road.png"], length=1, seed=0, composition=SMALL)
    assert_labels_agree(scenes[0])
    with pytest.raises(DataError, match=r"no background .*sea\.png"):
        Composer(crowd(), [tmp_path / "sea.png"], length=1, seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"size": (9, 80)},
        {"people": (3, 2)},
        {"heights": (0.0, 1.0)},
        {"hidden": 1.0},
        {"outside": 1.0},
        {"deepest": 0.0},
        {"decoys": -1},
        {"colour": 2.0},
    ],
)
def test_composition_refuses(change):
    with pytest.raises(DataError, match=f"composition's {next(iter(change))} is"):
        Composition(**change)


# Pictures: who hides whom


def full(height, width):
    return np.full((height, width, 3), 200, np.uint8), np.ones((height, width), np.float32)


def picture():
    return Picture(empty_background(), np.zeros((150, 260), np.uint16))


def test_nearer_people_are_in_front():
    street = picture()
    street.paste(*full(40, 20), (10, 60), feet=100, identity=5)
    street.paste(*full(40, 20), (20, 40), feet=80, identity=6)  # later, but farther away
    assert street.instances[70, 25] == 1
    assert street.instances[50, 25] == 2
    street.paste(*full(40, 20), (10, 70), feet=110, identity=7)
    assert street.instances[75, 15] == 3
    assert street.identities == [5, 6, 7]


@pytest.mark.parametrize(("columns", "labelled"), [(69, True), (70, True), (71, False), (100, False)])
def test_whoever_is_hidden_by_more_than_the_limit_is_dropped(columns, labelled):
    street = picture()
    street.paste(*full(10, 100), (0, 50), feet=60, identity=1)
    street.paste(*full(10, columns), (0, 50), feet=61, identity=2)
    assert (0 in street.visible_rows(0.7)) == labelled
    assert 1 in street.visible_rows(0.7)


@pytest.mark.parametrize(
    ("corner", "labelled"), [((-69, 50), True), ((-71, 50), False), ((300, 50), False), ((0, 149), False)]
)
def test_what_lies_past_the_edge_is_hidden(corner, labelled):
    street = picture()
    street.paste(*full(10, 100), corner, feet=60, identity=1)
    assert street.visible_rows(0.7).tolist() == ([0] if labelled else [])


def test_a_thing_hides_and_is_nobody():
    street = picture()
    street.paste(*full(10, 10), (0, 50), feet=60, identity=1)
    street.paste(*full(10, 10), (5, 50), feet=70, identity=None)
    assert np.count_nonzero(street.instances) == 50
    assert street.identities == [1]


def test_soft_edges_blend():
    street = picture()
    image, opacity = full(10, 10)
    opacity[:, 0] = 0.25
    street.paste(image, opacity, (20, 50), feet=60, identity=1)
    assert street.image[55, 20].tolist() == [118, 118, 118]  # 90 + 110 / 4, rounded to even
    assert street.instances[55, 20] == 0
    assert street.instances[55, 21] == 1


def test_perspective_makes_lower_feet_larger():
    for seed, background in ((0, empty_background()), (1, peopled_background())):
        perspective = draw_perspective(background, np.random.default_rng(seed))
        assert perspective.feet(60) > perspective.feet(30) > perspective.horizon


# Cut-outs


def test_cut_out_is_the_person_with_a_margin():
    mask = np.zeros((128, 64), np.bool_)
    mask[8:118, 20:50] = True
    mask[120:122, 2:4] = True  # a speck
    cutout = cut_out(crop_of(0, 1, mask, colour=(1, 2, 3)), 0)
    assert cutout.height == 110
    assert np.count_nonzero(cutout.mask) == 3300
    assert (cutout.image[cutout.mask] == (1, 2, 3)).all()


def block(*parts):
    mask = np.zeros((128, 64), np.bool_)
    for y1, y2, x1, x2 in parts:
        mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        block(),
        block((12, 120, 20, 50)),  # lower than 85 % of its box
        block((6, 60, 20, 50), (64, 122, 20, 50)),  # in two pieces
        block((6, 122, 30, 40)),  # a pole
    ],
)
def test_masks_that_show_no_person_are_left_out(mask):
    assert cut_out(crop_of(0, 1, mask), 0) is None


def test_find_people_lists_the_usable():
    bare = crop_of(3, 1)
    bare = Scene(bare.name, bare.image, bare.boxes, bare.identities)
    people = find_people(Listed(crop_of(1, 2), bare, crop_of(4, 5)))
    assert people.scenes.tolist() == [0, 2]
    assert people.identities.tolist() == [1, 4]
    assert people.cameras.tolist() == [2, 5]


@pytest.mark.parametrize("height", [40, 116, 240])
def test_resized_cutouts_have_the_height_and_soft_edges(height):
    image, opacity = resize_cutout(cut_out(crop_of(0, 1), 0), height, 0.8)
    assert image.shape[:2] == opacity.shape
    rows = np.flatnonzero((opacity >= 0.5).any(1))
    assert len(rows) == pytest.approx(height, rel=0.05, abs=2)
    middle = opacity[opacity.shape[0] // 2]
    soft = np.count_nonzero((middle > 0.02) & (middle < 0.98))
    assert 2 <= soft <= 12


def test_only_people_who_fill_their_picture_are_reshaped():
    assert cut_out(crop_of(0, 1), 0).reshaped
    assert not cut_out(peopled_background(), 0).reshaped


def test_narrowing_changes_the_width_alone():
    cutout = cut_out(crop_of(0, 1), 0)
    wide, narrow = (resize_cutout(cutout, 200, 0.8, narrowing)[1].shape for narrowing in (1.0, 0.5))
    assert wide[0] == narrow[0]
    assert narrow[1] == pytest.approx(wide[1] / 2, abs=1)


# Backgrounds and real data


def test_empty_scenes_take_a_part(tmp_path):
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    scene = EmptyScenes({tmp_path / "a.png": (0.5, 0.0, 1.0, 0.5)})[0]
    np.testing.assert_array_equal(scene.image, read_image(tmp_path / "a.png")[:20, 30:])
    assert len(scene.boxes) == 0
    with pytest.raises(DataError, match=r"a\.png is no part"):
        EmptyScenes({tmp_path / "a.png": (0.5, 0.0, 0.5, 0.5)})


def test_composes_real_people(shared_data):
    market, _ = market1501_split(shared_data / "market1501")
    streets, _ = penn_fudan_split(shared_data / "penn_fudan")
    people = Joined(Subset(market, range(0, len(market), 80)), Subset(streets, range(20)))
    scenes = Composer(people, Joined(street_scenes(shared_data), streets), length=8, seed=0)
    assert scenes.identity_count == market.identity_count
    found = [scenes[i] for i in range(len(scenes))]
    for scene in found:
        assert_labels_agree(scene)
    assert sum(int((scene.identities != UNKNOWN).sum()) for scene in found) > 8
