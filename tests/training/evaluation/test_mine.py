"""`python -m training mine`, and training with what it finds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import Tensor, nn

from tests.helpers.paths import TINY
from training.__main__ import app
from training.checkpoint import save_checkpoint
from training.data.datasets import splits
from training.data.datasets.hard import read_mistakes
from training.data.scene import Scene, no_boxes
from training.evaluation.mine import false_people
from training.models import create
from training.models.detector import Detections
from training.preset import Preset


class Finder(nn.Module):
    """Finds the same wherever it looks."""

    def __init__(self, boxes: list, scores: list[float]) -> None:
        super().__init__()
        self.boxes, self.scores = nn.Parameter(torch.tensor(boxes).reshape(-1, 4)), torch.tensor(scores)

    def forward(self, image: Tensor) -> Detections:
        return Detections(self.boxes.detach(), self.scores)


LEFT, RIGHT = (0.0, 0, 40, 80), (60.0, 0, 100, 80)


@pytest.mark.parametrize(
    ("boxes", "scores", "ignored", "expected"),
    [
        pytest.param([], [], [], [], id="nothing"),
        pytest.param([LEFT, RIGHT], [0.5, 0.9], [], [0.9, 0.5], id="the worst first"),
        pytest.param([LEFT, RIGHT], [0.3, 0.29], [], [0.3], id="from the score on"),
        pytest.param([LEFT, RIGHT], [0.9, 0.8], [LEFT], [0.8], id="but for what is ignored"),
    ],
)
def test_who_is_found_where_nobody_is(
    tiny: Preset, boxes: list, scores: list[float], ignored: list, expected: list[float]
) -> None:
    picture = np.zeros((*tiny.canvas, 3), np.uint8)
    doubtful = np.array(ignored, np.float32).reshape(-1, 4)
    scene = Scene("", picture, no_boxes(), np.zeros(0, np.int64), ignored=doubtful)
    assert false_people(Finder(boxes, scores), scene, tiny, 0.3) == pytest.approx(expected)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One set: seven pictures, of which two are held out and two show somebody; the last trained one is no picture."""
    monkeypatch.setattr(splits, "REAL_SETS", ("negatives",))
    folder, rng, entries = tmp_path / "data" / "negatives", np.random.default_rng(0), []
    (folder / "images").mkdir(parents=True)
    for number in range(7):
        file = f"images/{number}.jpg"
        cv2.imwrite(str(folder / file), rng.integers(0, 255, (90, 150, 3)).astype(np.uint8))
        entries.append({"file": file, "persons": [{"bbox": [20, 15, 30, 60]}] if number in (1, 2) else []})
    (folder / "images/5.jpg").write_bytes(b"no picture")
    (folder / "boxes.json").write_text(json.dumps(entries))
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path, tiny: Preset) -> Path:
    save_checkpoint(tmp_path / "detector.safetensors", create("detector", tiny), model="detector", preset=tiny.name)
    return tmp_path / "detector.safetensors"


def mine(checkpoint: Path, root: Path, *options: object) -> Result:
    arguments = ("--detector", checkpoint, "--root", root, "--preset", TINY, "--device", "cpu", *options)
    return CliRunner().invoke(app, ["mine", *map(str, arguments)])


def test_the_training_pictures_of_nobody_are_searched(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    result = mine(checkpoint, root, "--out", tmp_path / "hard.csv", "--score", 0)
    assert result.exit_code == 0, result.exception
    found = read_mistakes(tmp_path / "hard.csv")
    assert sorted(row.file for row in found) == ["negatives/images/3.jpg", "negatives/images/4.jpg"]
    assert all(row.people > 0 and 0 < row.score < 1 for row in found)
    assert "of 3 pictures that show nobody, 1 unread" in " ".join(result.output.split())
    mine(checkpoint, root, "--out", tmp_path / "none.csv", "--score", 1)
    assert read_mistakes(tmp_path / "none.csv") == []


def test_other_data_is_refused(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    result = mine(checkpoint, root, "--out", tmp_path / "hard.csv", "--data", "composed")
    assert "Only --data real" in str(result.exception)
