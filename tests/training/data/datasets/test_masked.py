import json

import numpy as np
import pytest

from tests.helpers.training_scenes import save
from training.data.datasets.masked import masked_train, person_masks_split
from training.data.datasets.splits import penn_fudan_split, real_set_split


def names(scenes):
    return [scenes[index].name for index in range(len(scenes))]


@pytest.fixture
def root(tmp_path):
    """Thirteen pictures a set; `coco_mini` holds pictures 5 … 17 and `coco_person` 0 … 12 of one numbering."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:15] = 1
    for number in range(13):
        for name in ("penn_fudan", "ccp_person_masks"):
            save(tmp_path / name / "images" / f"{name}_{number:02d}.jpg", 20, 30)
            save(tmp_path / name / "masks" / f"{name}_{number:02d}.png", 0, 0, mask)
    for name, first in (("coco_mini", 5), ("coco_person", 0)):
        files = [f"images/coco_{number:02d}.jpg" for number in range(first, first + 13)]
        for file in files:
            save(tmp_path / name / file, 20, 30)
        entries = [{"file": file, "persons": [], "masks_complete": True} for file in files]
        (tmp_path / name / ("coco_mini.json" if name == "coco_mini" else "boxes.json")).write_text(json.dumps(entries))
    return tmp_path


def test_every_sixth_person_is_held_out(root):
    train, held_out = map(names, person_masks_split(root / "ccp_person_masks"))
    assert held_out == [f"ccp_person_masks_{number:02d}.jpg" for number in (0, 6, 12)]
    assert len({*train, *held_out}) == 13


def test_nothing_held_out_is_trained_on(root):
    train = set(names(masked_train(root)))
    assert train == {
        *names(penn_fudan_split(root / "penn_fudan")[0]),
        *names(person_masks_split(root / "ccp_person_masks")[0]),
        # One set holds out 05, 11, 17, the other 00, 06, 12.
        *(f"images/coco_{number:02d}.jpg" for number in range(5, 18) if number % 6 not in (0, 5)),
    }
    for name in ("coco_mini", "coco_person"):
        assert not train & set(names(real_set_split(root / name)[1]))


def test_real(shared_data):
    scenes = masked_train(shared_data)
    assert len(scenes) == 112 + 319 + 146
    masked = [scene.instances is not None for scene in map(scenes.__getitem__, range(0, len(scenes), 8))]
    assert np.mean(masked) > 0.9
