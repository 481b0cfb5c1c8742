import pytest

from tests.helpers.crop_sets import every_set, save_crop_set
from tests.helpers.training_scenes import Streets, save
from training.data.datasets import reid_splits
from training.data.datasets.market1501 import Market1501
from training.data.datasets.reid_splits import (
    CROP_SETS,
    EVERY,
    NEVER_TRAINED,
    crop_set_held_out,
    crop_set_people,
    crops_train,
)
from training.data.datasets.splits import MARKET_HELD_OUT


def people_of(scenes):
    """Who is on each picture, by the file's name; and the identities they have here."""
    shown = [scenes[number] for number in range(len(scenes))]
    return {scene.name.rsplit("/")[-1].rsplit("_c", 1)[0] for scene in shown}, {
        int(identity) for scene in shown for identity in scene.identities
    }


@pytest.fixture
def root(tmp_path):
    """Every set with seven people; Market with two to train on, one more crop of the first and of one held out."""
    for number in range(MARKET_HELD_OUT + 2):
        save(tmp_path / "market1501" / "images" / f"{number:04d}" / f"{number:04d}_c1s1_000001_01.jpg", 20, 10)
    extra = [("market_train_extra", f"market_{number:04d}", 2) for number in (1, 2, 30)]
    save_crop_set(tmp_path / "reid_mix", [*every_set(), *extra])
    return tmp_path


@pytest.mark.parametrize("name", CROP_SETS)
def test_every_sixth_person_is_held_out_and_one_set_whole(root, name):
    train, held_out = crop_set_people(root / "reid_mix", name)
    everyone = [f"{name}_{number:03d}" for number in range(7)]
    assert sorted(train + held_out) == everyone
    assert held_out == (everyone if name == NEVER_TRAINED else [everyone[0], everyone[6]])
    scenes = crop_set_held_out(root / "reid_mix", name)
    assert len(scenes) == 2 * len(held_out)
    shown, identities = people_of(scenes)
    assert shown == set(held_out)
    assert identities == set(range(len(held_out)))


def test_nobody_held_out_is_trained_on(root):
    train = crops_train(root)
    shown, identities = people_of(train)
    expected = {f"{name}_{number:03d}" for name in CROP_SETS if name != NEVER_TRAINED for number in range(1, 6)}
    assert shown == {"0000", "0001", "market_0001"} | expected
    # More crops of somebody are of the same identity.
    assert train.identity_count == 2 + 5 * 5
    assert identities == set(range(2 + 5 * 5))
    assert [train[number].identities[0] for number in range(3)] == [0, 1, 1]


def test_a_second_pid_of_somebody_held_out_is_not_trained_on(root, monkeypatch):
    monkeypatch.setattr(reid_splits, "SAME_PEOPLE", ("cuhk01_003",))
    train, held_out = crop_set_people(root / "reid_mix", "cuhk01")
    assert train == ["cuhk01_001", "cuhk01_002", "cuhk01_004", "cuhk01_005"]
    assert held_out == ["cuhk01_000", "cuhk01_006"]
    assert "cuhk01_003" not in people_of(crops_train(root))[0]


def test_scenes_of_the_same_people_join_them(root):
    streets = Streets(3)
    streets.identity_count = 2
    train = crops_train(root, streets)
    assert train.identity_count == 2 + 5 * 5
    assert len(train) == 3 + 3 + 5 * 5 * 2
    assert train[4].identities.tolist() == streets[1].identities.tolist()


def test_real(shared_data):
    held_out = {name: crop_set_people(shared_data / "reid_mix", name)[1] for name in CROP_SETS}
    counts = {"cuhk03": 141, "cuhk01": 162, "iitd_col780": 13, "prid": 34, "grid": 42, "viper": 632}
    assert {name: len(people) for name, people in held_out.items()} == counts
    assert held_out["grid"][:3] == ["grid_0001", "grid_0007", "grid_0013"]
    train = crops_train(shared_data)
    market = Market1501(shared_data / "market1501")
    assert train.identity_count == len(market.names) - MARKET_HELD_OUT + sum(
        len(crop_set_people(shared_data / "reid_mix", name)[0]) for name in CROP_SETS
    )
    assert EVERY == 6
