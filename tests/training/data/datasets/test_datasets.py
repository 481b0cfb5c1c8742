import shutil

import numpy as np
import pytest

from mgts_trt.errors import ImageError
from tests.helpers.training_scenes import check_scene, save
from training.data.datasets.market1501 import SMALLEST_MASK, Market1501
from training.data.datasets.penn_fudan import PennFudan
from training.data.datasets.splits import MARKET_HELD_OUT, Joined, Subset, market1501_split, penn_fudan_split
from training.data.datasets.tud_campus import tud_campus
from training.data.files import DataError
from training.data.scene import UNKNOWN


def assert_boxes_are_extents(scene):
    for row, box in enumerate(scene.boxes):
        ys, xs = np.nonzero(scene.instances == row + 1)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


# Penn-Fudan


@pytest.fixture
def penn_fudan(tmp_path):
    """Eleven pictures, the first with labels 1 and 3 and none called 2."""
    for number in range(11):
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 3:9] = 1
        if number == 0:
            mask[8:28, 20:29] = 3
        save(tmp_path / "images" / f"P{number:02d}.jpg", 30, 40)
        save(tmp_path / "masks" / f"P{number:02d}.png", 30, 40, mask)
    return tmp_path


def test_penn_fudan_takes_boxes_from_masks(penn_fudan):
    scene = PennFudan(penn_fudan)[0]
    check_scene(scene)
    assert scene.boxes.tolist() == [[3, 5, 9, 20], [20, 8, 29, 28]]
    assert_boxes_are_extents(scene)
    assert scene.identities.tolist() == [UNKNOWN, UNKNOWN]


def test_penn_fudan_split_holds_out_every_fifth(penn_fudan):
    train, held_out = penn_fudan_split(penn_fudan)
    assert [held_out[i].name for i in range(len(held_out))] == ["P00.jpg", "P05.jpg", "P10.jpg"]
    names = {train[i].name for i in range(len(train))}
    assert len(names) == 8
    assert not names & {"P00.jpg", "P05.jpg", "P10.jpg"}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: shutil.rmtree(p / "images"), r"no folder .*images"),
        (lambda p: [f.unlink() for f in (p / "images").iterdir()], r"images holds no \*.jpg"),
        (lambda p: (p / "masks" / "P03.png").unlink(), r"P03.jpg has no mask"),
        (lambda p: (p / "masks" / "P03.png").write_bytes(b""), r"P03.png \(0 bytes\) is not a picture"),
        (lambda p: save(p / "masks" / "P03.png", 30, 40), r"P03.png has 3 channels"),
        (lambda p: save(p / "masks" / "P03.png", 0, 0, np.ones((31, 40), np.uint8)), r"P03.png has .*\[31, 40\]"),
        (lambda p: save(p / "masks" / "P03.png", 0, 0, np.zeros((30, 40), np.uint8)), r"P03.png is black"),
    ],
)
def test_penn_fudan_names_the_broken_file(penn_fudan, harm, message):
    harm(penn_fudan)
    with pytest.raises(DataError, match=message):
        PennFudan(penn_fudan)[3]


def test_penn_fudan_real(shared_data):
    folder = shared_data / "penn_fudan"
    names = sorted(path.name for path in (folder / "images").iterdir())
    scenes = PennFudan(folder)
    assert len(scenes) == len(names)
    for index in (0, len(names) // 2, len(names) - 1):
        check_scene(scenes[index])
        assert_boxes_are_extents(scenes[index])
        assert scenes[index].name == names[index]
    train, held_out = penn_fudan_split(folder)
    assert [held_out[i].name for i in range(len(held_out))] == names[::5]
    assert len(train) == len(names) - len(held_out)


# Market-1501


@pytest.fixture
def market(tmp_path):
    for identity, camera in (("0007", 1), ("0010", 3), ("0011", 6)):
        for number in range(2):
            name = f"{identity}_c{camera}s1_00000{number}_01"
            mask = np.zeros((128, 64), np.uint8)
            mask[10:120, 16:48] = 255
            save(tmp_path / "images" / identity / f"{name}.jpg", 128, 64)
            save(tmp_path / "masks" / identity / f"{name}.png", 0, 0, mask)
    return tmp_path


def test_market_reads_identities_and_cameras(market):
    scenes = Market1501(market)
    assert scenes.identity_count == 3
    assert scenes.identities.tolist() == [0, 0, 1, 1, 2, 2]
    assert [scenes[i].camera for i in range(6)] == scenes.cameras.tolist() == [1, 1, 3, 3, 6, 6]
    scene = scenes[3]
    check_scene(scene)
    assert scene.name == "0010_c3s1_000001_01.jpg"
    assert scene.identities.tolist() == [1]
    assert scene.boxes.tolist() == [[0, 0, 64, 128]]
    assert np.count_nonzero(scene.instances) == 110 * 32


@pytest.mark.parametrize(
    ("covered", "has_mask"),
    [(0, False), (100, False), (SMALLEST_MASK * 128 * 64 - 1, False), (SMALLEST_MASK * 128 * 64 + 1, True)],
)
def test_market_takes_a_nearly_empty_mask_for_none(market, covered, has_mask):
    mask = np.zeros(128 * 64, np.uint8)
    mask[: int(covered)] = 255
    save(market / "masks" / "0007" / "0007_c1s1_000000_01.png", 0, 0, mask.reshape(128, 64))
    assert (Market1501(market)[0].instances is not None) == has_mask


def test_market_without_masks_has_none(market):
    shutil.rmtree(market / "masks")
    assert Market1501(market)[0].instances is None


def market_file(kind, name="0010_c3s1_000001_01"):
    return lambda p: p / kind / "0010" / (name + (".jpg" if kind == "images" else ".png"))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: shutil.rmtree(p / "images"), "no folder .*images"),
        (lambda p: [shutil.rmtree(f) for f in (p / "images").iterdir()], "images holds no folder"),
        (lambda p: (p / "images" / "0002").mkdir(), r"0002 holds no \*.jpg"),
        (lambda p: market_file("masks")(p).unlink(), "0010_c3s1_000001_01.jpg has no mask"),
        (lambda p: shutil.rmtree(p / "masks" / "0010"), "no folder .*masks.0010"),
        (lambda p: save(p / "images" / "0010" / "holiday.jpg", 9, 9), "holiday.jpg has no mask"),
        (lambda p: save(market_file("masks")(p), 0, 0, np.ones((64, 64), np.uint8)), r"000001_01.png has .*\[64, 64\]"),
    ],
)
def test_market_names_the_broken_file(market, harm, message):
    harm(market)
    with pytest.raises(DataError, match=message):
        Market1501(market)[3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holiday", r"holiday.jpg is not named as a Market-1501 crop"),
        ("0010_c3_000001_01", r"0010_c3_000001_01.jpg is not named"),
        ("0007_c3s1_000009_01", r"0007_c3s1_000009_01.jpg lies in the folder of identity 0010"),
    ],
)
def test_market_names_the_odd_name(market, name, message):
    shutil.copy(market_file("images")(market), market_file("images", name)(market))
    shutil.copy(market_file("masks")(market), market_file("masks", name)(market))
    with pytest.raises(DataError, match=message):
        Market1501(market)


def test_market_broken_crop_is_an_image_error(market):
    market_file("images")(market).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"000001_01\.jpg"):
        Market1501(market)[3]


def test_market_split_shares_no_identity(market):
    train, held_out = market1501_split(market, held_out=1)
    assert (len(train), train.identity_count) == (4, 2)
    assert (len(held_out), held_out.identity_count) == (2, 1)
    assert [int(train[i].identities[0]) for i in range(4)] == [0, 0, 1, 1]
    assert [held_out[i].name[:4] for i in range(2)] == ["0011", "0011"]
    assert int(held_out[0].identities[0]) == 0


@pytest.mark.parametrize("held_out", [0, 3, 150])
def test_market_split_needs_identities_on_both_sides(market, held_out):
    with pytest.raises(DataError, match=f"{held_out} identities cannot be held out of the 3"):
        market1501_split(market, held_out=held_out)


def test_market_real(shared_data):
    folder = shared_data / "market1501"
    people = sorted(path.name for path in (folder / "images").iterdir())
    crops = sorted(path.name for path in (folder / "images").glob("*/*.jpg"))
    train, held_out = market1501_split(folder)
    assert len(train) + len(held_out) == len(crops)
    masked = []
    for scenes, names, identities in (
        (train, crops[: len(train)], people[:-MARKET_HELD_OUT]),
        (held_out, crops[len(train) :], people[-MARKET_HELD_OUT:]),
    ):
        assert scenes.identity_count == len(identities)
        for index in range(0, len(scenes), 100):
            scene = scenes[index]
            check_scene(scene)
            assert scene.name == names[index]
            assert scene.name.startswith(f"{identities[scene.identities[0]]}_c{scene.camera}s")
            assert scene.image.shape == (128, 64, 3)
            masked.append(scene.instances is not None)
        first, last = scenes[0], scenes[len(scenes) - 1]
        assert (int(first.identities[0]), int(last.identities[0])) == (0, len(identities) - 1)
    assert np.mean(masked) > 0.9


# Subsets and unions


def test_subset_renumbers_and_forgets(market):
    subset = Subset(Market1501(market), [5, 0, 2], identities=[2, 0])
    assert subset.identity_count == 2
    assert [int(subset[i].identities[0]) for i in range(3)] == [0, 1, UNKNOWN]


def test_subset_names_the_wrong_number(market):
    with pytest.raises(DataError, match="scene 6, but the dataset has 6"):
        Subset(Market1501(market), [0, 6])


def test_joined_shifts_identities(market):
    scenes = Market1501(market)
    joined = Joined(scenes, Subset(scenes, [4], identities=[]), scenes)
    assert joined.identity_count == 6
    assert [int(joined[i].identities[0]) for i in range(len(joined))] == [0, 0, 1, 1, 2, 2, UNKNOWN, 3, 3, 4, 4, 5, 5]
    assert joined[7].name == scenes[0].name
    with pytest.raises(IndexError):
        joined[13]


# TUD Campus


@pytest.fixture
def tud(tmp_path):
    for frame in (1, 2):
        save(tmp_path / "images" / f"{frame:06d}.jpg", 30, 40)
    (tmp_path / "gt.txt").write_text("1,3,2,3,10,20,-1\n1,9,30,5,30,20,-1\n\n")
    return tmp_path


def test_tud_campus_reads_boxes(tud):
    scenes = tud_campus(tud)
    assert (len(scenes), scenes.identity_count) == (2, 2)
    check_scene(scenes[0])
    assert scenes[0].boxes.tolist() == [[2, 3, 12, 23], [30, 5, 40, 25]]
    assert scenes[0].identities.tolist() == [0, 1]
    assert len(scenes[1].boxes) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,2,3,4,5,-1\n1,1,2,3\n", "Line 2 of .*gt.txt is '1,1,2,3'"),
        ("1,1,2,3,0,5,-1\n", "Line 1 of .*positive width"),
        ("1,one,2,3,4,5,-1\n", "Line 1 of .*'1,one"),
        ("7,1,2,3,4,5,-1\n", "Line 1 of .*frame 7"),
        (None, "no file .*gt.txt"),
    ],
)
def test_tud_campus_names_the_broken_line(tud, text, message):
    (tud / "gt.txt").unlink()
    if text is not None:
        (tud / "gt.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        tud_campus(tud)


def test_tud_campus_real(shared_data):
    scenes = tud_campus(shared_data / "tud_campus")
    assert (len(scenes), scenes.identity_count) == (71, 8)
    assert sum(len(labelled.boxes) for labelled in scenes.images) == 359
    check_scene(scenes[0])
    assert scenes[0].boxes[0].tolist() == [399, 182, 520, 411]
