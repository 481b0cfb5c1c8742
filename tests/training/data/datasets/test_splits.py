import json
import shutil

import pytest

from tests.helpers.training_scenes import save
from training.data.datasets import splits
from training.data.datasets.boxes_json import boxes_json
from training.data.datasets.coco_masks import CocoMasks
from training.data.datasets.splits import (
    COCO_MASKS,
    FILMS,
    REAL_EVERY,
    REAL_SETS,
    Joined,
    further_train,
    real_set_split,
    real_train,
)
from training.data.files import DataError
from training.data.sources import files_of


def names(scenes):
    return [scenes[index].name for index in range(len(scenes))]


@pytest.fixture
def root(tmp_path):
    """Every set with thirteen pictures; both sets of COCO hold pictures 5 … 7, and one of them holds out 6, one 5."""
    for name in REAL_SETS:
        first = {"coco_person": 0, "coco_mini": 5}.get(name)
        entries = []
        for number in range(13):
            file = f"images/{name if first is None else 'coco'}_{number + (first or 0):02d}.jpg"
            save(tmp_path / name / file, 20, 30)
            entries.append({"file": file, "persons": [{"bbox": [1, 2, 3, 4]}], "masks_complete": False})
        lists = "coco_mini.json" if name == "coco_mini" else "boxes.json"
        (tmp_path / name / lists).write_text(json.dumps(entries))
    return tmp_path


@pytest.mark.parametrize("name", REAL_SETS)
def test_every_sixth_picture_is_held_out(root, name):
    train, held_out = map(names, real_set_split(root / name))
    everything = names(boxes_json(root / name) if name != COCO_MASKS else CocoMasks(root / name))
    assert len(everything) == len(set(everything)) == 13
    assert held_out == everything[::REAL_EVERY] == [everything[0], everything[6], everything[12]]
    away = FILMS.get(name, 0)
    assert train == [file for row, file in enumerate(everything) if away < row % 6 < 6 - away]


def test_a_copy_of_a_held_out_picture_is_not_trained_on(root, monkeypatch):
    copy = names(real_set_split(root / "negatives")[0])[0]
    monkeypatch.setitem(splits.COPIES, "negatives", (copy,))
    train, held_out = map(names, real_set_split(root / "negatives"))
    assert copy not in train + held_out + names(real_train(root))
    assert len(train) == 9


def test_files_are_those_of_the_scenes(root):
    train = real_train(root)
    assert {path.name for path in files_of(train)} == {name.removeprefix("images/") for name in names(train)}
    for number in (0, 3, len(train) - 1):
        (path,) = files_of(train, [number])
        assert path.is_file()
        assert path.as_posix().endswith(train[number].name)
    assert files_of(Joined(train, real_set_split(root / "negatives")[1])) > files_of(train)


def test_nothing_held_out_is_trained_on(root):
    train = names(real_train(root))
    held_out = {name for part in REAL_SETS for name in names(real_set_split(root / part)[1])}
    assert not held_out & set(train)
    others = [set(names(real_set_split(root / part)[0])) for part in REAL_SETS if "coco" not in part]
    assert all(part <= set(train) for part in others)
    # 00 … 12 and 05 … 17, of which 00, 06, 12 and 05, 11, 17 are held out.
    coco = [name for name in train if "coco" in name]
    assert sorted(set(coco)) == [f"images/coco_{n:02d}.jpg" for n in range(18) if n % 6 not in (0, 5)]
    assert len(train) == sum(map(len, others)) + len(coco)


def test_further_photos_are_all_trained_on_but_those_held_out(root, tmp_path):
    for folder, files in (("a", ["x/one.jpg", "x/coco_06.jpg", "two.jpg"]), ("b", ["three.jpg", "coco_07.jpg"])):
        for file in files:
            save(tmp_path / folder / file, 20, 30)
        (tmp_path / folder / "boxes.json").write_text(json.dumps([{"file": file, "persons": []} for file in files]))
    further = further_train(root, [tmp_path / "a", tmp_path / "b"])
    assert names(further) == ["two.jpg", "x/one.jpg", "coco_07.jpg", "three.jpg"]
    assert len(further_train(root, [])) == 0


def test_a_set_that_is_missing(root):
    shutil.rmtree(root / "mot15_static")
    with pytest.raises(DataError, match="mot15_static"):
        real_train(root)


def test_real(shared_data):
    train = real_train(shared_data)
    held_out = [real_set_split(shared_data / name)[1] for name in REAL_SETS]
    assert [len(part) for part in held_out] == [134, 64, 103, 27, 18, 85]
    assert len(train) == 2068
