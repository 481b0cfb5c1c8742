"""`python -m training label-set`, on scenes made here."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
from typer.testing import CliRunner

from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.labelled import LabelledSet
from training.__main__ import app
from training.data.scene import UNKNOWN, Scene
from training.evaluation.label_set import write_label_set


class TwoScenes:
    """One scene with masks and a camera, one without either; person 4 is in both."""

    identity_count = 5

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Scene:
        image = np.random.default_rng(index).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        if index:
            return Scene("b", image, np.array([[1.5, 2, 30, 40]], np.float32), np.array([4]))
        instances = np.zeros((40, 60), np.uint16)
        instances[5:20, 10:20], instances[8:30, 40:60] = 1, 2
        boxes = np.array([[10, 5, 20, 20], [40, 8, 60, 30]], np.float32)
        return Scene("a", image, boxes, np.array([4, UNKNOWN]), instances, camera=2)


def test_scenes_read_back(tmp_path: Path) -> None:
    scenes, done = TwoScenes(), []
    write_label_set(scenes, tmp_path / "s", count=2, source="here", on_step=lambda: done.append(1))
    labelled = LabelledSet.open(tmp_path / "s")
    assert len(done) == len(labelled.pictures) == 2
    assert labelled.searchable
    for number, picture in enumerate(labelled.pictures):
        scene, masks = scenes[number], labelled.masks(picture)
        assert np.array_equal(labelled.image(picture), scene.image)
        assert np.array_equal(picture.box_array, scene.boxes)
        assert (masks is None) == (scene.instances is None)
        assert masks is None or np.array_equal(masks, scene.instances)
    assert [(p.identities, p.camera) for p in labelled.pictures] == [((4, None), 2), ((4,), None)]
    with pytest.raises(MgtsError, match="already"):
        write_label_set(scenes, tmp_path / "s", count=2, source="here")


def test_penn_fudan_from_the_command_line(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((50, 70), np.uint8)
        mask[10:40, 20:30] = 1
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{number}.jpg"), np.full((50, 70, 3), 90, np.uint8))
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{number}.png"), mask)
    out = tmp_path / "set"
    arguments = ["label-set", "--data", "penn_fudan", "--root", str(tmp_path / "data"), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 people in 2 pictures" in " ".join(result.output.split())
    assert "retrieval cannot be measured" in " ".join(result.output.split())
    labelled = LabelledSet.open(out)
    assert [picture.boxes for picture in labelled.pictures] == [((20, 10, 30, 40),)] * 2, (
        "pictures 0 and 5 are held out"
    )


@pytest.mark.slow
def test_composed_scenes(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    arguments = ["label-set", "--root", str(shared_data), "--out", str(out), "--scenes", "4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    labelled = LabelledSet.open(out)
    assert len(labelled.pictures) == 4
    assert all(picture.masks for picture in labelled.pictures)
