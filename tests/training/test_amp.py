"""Mixed precision: the loop with the real networks in miniature."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.drawn_scenes import drawn
from tests.helpers.toy_task import STEPS, ToyTask, assert_same_state, run, state
from tests.helpers.training_scenes import Streets
from training import loop
from training.loop import TrainingError
from training.preset import Preset
from training.schedule import Schedule
from training.tasks.detector import DetectorTask
from training.tasks.masknet import MaskNetTask
from training.tasks.reid import ReidTask
from training.tasks.task import Task

SCHEDULE = Schedule(
    batch_size=2, length=4, optimizer="sgd", lr=0.01, weight_decay=1e-4, decay="steps", clip=1.0, ema=0.9
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "plot_losses", lambda log, picture: picture.touch())


def create_task(part: str, tiny: Preset) -> Task:
    if part == "mgts":
        return ReidTask(tiny, Streets(), "mgts", batch_size=5, readers=1)
    kind = DetectorTask if part == "detector" else MaskNetTask
    return kind(tiny, drawn(3), batch_size=2, freeze="none")


@pytest.mark.parametrize("part", ["detector", "masknet", "mgts"])
def test_the_networks_resume_bit_for_bit_in_bf16(tiny: Preset, tmp_path: Path, part: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    weights = run(whole, SCHEDULE, create_task(part, tiny), model=part, amp="bf16")
    for stop_at in (1, 3, 4):
        resumed = run(parts, SCHEDULE, create_task(part, tiny), model=part, amp="bf16", stop_at=stop_at)
    assert_same_state(whole, parts)
    first, second = load_file(weights), load_file(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    # Half is for computing only: what is learnt and remembered stays whole.
    assert {value.dtype for value in state(parts)["modules"].values()} <= {torch.float32, torch.int64}


class Scaled(ToyTask):
    """Its gradient overflows in half precision at the scale that fp16 begins with."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        return {name: 1e36 * loss for name, loss in super().losses(batch).items()}


def test_a_resumed_run_keeps_its_loss_scale(tmp_path: Path) -> None:
    run(tmp_path, STEPS, Scaled(), amp="fp16", stop_at=9)
    halved = state(tmp_path)["scaler"]["scale"]
    assert halved < 2**16
    run(tmp_path, STEPS, Scaled(), amp="fp16", stop_at=10)
    assert state(tmp_path)["scaler"]["scale"] in (halved, halved / 2)


class Endless(ToyTask):
    """Its loss is 0, and the loss's gradient not a number."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        return {
            "root": sum(((0 * parameter).square().sum().sqrt() for parameter in self.parameters()), torch.zeros(()))
        }


def test_gradients_that_are_never_finite_end_an_fp16_run(tmp_path: Path) -> None:
    schedule = STEPS.model_copy(update={"length": 60})
    with pytest.raises(TrainingError, match=r"up to 30, though the losses are .*of iteration 30\. Go on with bf16"):
        run(tmp_path, schedule, Endless(), amp="fp16")
    assert all(value.isfinite().all() for value in state(tmp_path)["modules"].values())
