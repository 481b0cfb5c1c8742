"""A task in miniature for the loop's tests, and a run of it that dies; importable by a process of its own."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch._dynamo  # an optimizer imports it when it is first made, for seconds; forked processes then have it
from torch import Tensor, nn
from torch.nn import functional

from training import loop
from training.loop import train
from training.losses.oim import OIM
from training.schedule import Schedule

LENGTH = 24


class ToyTask:
    """A network with all that makes resuming hard: dropout, batch statistics, momentum, a criterion that remembers."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 4))
        self.modules = nn.ModuleDict({"network": network, "oim": OIM(5, 4, queue=7)})

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([1, iteration])
        time.sleep(rng.uniform(0, 0.004))  # batches that come in another order than they were asked for
        return torch.from_numpy(rng.normal(size=(6, 6))).float(), torch.from_numpy(rng.integers(-1, 5, 6))

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        device = next(self.modules.parameters()).device
        x, labels = (part.to(device) for part in batch)
        y = functional.normalize(self.modules["network"](x).float(), dim=1)
        loss = self.modules["oim"](y, labels)
        self.modules["oim"].update(y.detach(), labels)
        return {"oim": loss, "size": 0.01 * (y * torch.rand_like(y)).square().mean()}

    def parameters(self) -> list[nn.Parameter]:
        return list(self.modules["network"].parameters())


STEPS = Schedule(
    batch_size=6, length=LENGTH, optimizer="sgd", lr=0.1, weight_decay=1e-4, decay="steps", milestones=(8,)
)
COSINE = Schedule(
    batch_size=6, length=LENGTH, optimizer="adamw", lr=0.01, weight_decay=0.1, warmup=5, decay="cosine", clip=1, ema=0.9
)
COOLDOWN = STEPS.model_copy(update={"decay": "cooldown", "milestones": (), "warmup": 2, "cooldown": 0.5})


def run(out: Path, schedule: Schedule = STEPS, task: ToyTask | None = None, **options: Any) -> Path | None:
    options = {"checkpoint_every": 5, "model": "idnet", "preset": "tiny", **options}
    return train(task or ToyTask(), schedule, out, **options)


def work(out: Path, schedule: Schedule, arm: Callable[[], None] | None) -> None:
    """Run with many checkpoints; `arm` is called before, and sees to it that this process dies."""
    torch.set_num_threads(1)
    loop.plot_losses = lambda log, picture: picture.touch()
    if arm is not None:
        arm()
    run(out, schedule, checkpoint_every=3)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(number: int) -> None:
    """Die at the call of that number from now on, counted from 1: of Python's functions and C's, this thread's only.

    Counted, not timed: the moment is the same on every machine, however busy.
    """
    calls = itertools.count(1)

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        if event in ("call", "c_call") and next(calls) == number:
            _die()

    sys.setprofile(profile)


def die_at_file(number: int, folder: Path) -> None:
    """Die before the change of that number to a file in a folder, counted from 1: to open, rename or remove it."""
    changes = itertools.count(1)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove"):
            path, mode = arguments[0], arguments[1]
            changed = isinstance(path, str | os.PathLike) and Path(path).is_relative_to(folder)
            if changed and not (event == "open" and mode in ("r", "rb")) and next(changes) == number:
                _die()

    sys.addaudithook(audit)


def die_in_third_save(moment: str) -> None:
    """Die in writing the third checkpoint: `before` it, when `half` of it or the `whole` is written."""
    save, saves = torch.save, itertools.count()

    def die(value: Any, file: Any) -> None:
        if next(saves) < 2:
            save(value, file)
            return
        if moment != "before":
            save(value, file)
        if moment == "half":
            file.truncate(file.tell() // 2)
        file.flush()
        _die()

    torch.save = die


def state(out: Path) -> dict[str, Any]:
    return torch.load(out / "state.pt", weights_only=True)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict of leaves."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, child in items for k, v in flat(child, f"{path}/{key}").items()}
    return {path: value}


def assert_same_state(a: Path, b: Path) -> None:
    first, second = flat(state(a)), flat(state(b))
    assert first.keys() == second.keys()
    for key, value in first.items():
        same = torch.equal(value, second[key]) if isinstance(value, Tensor) else value == second[key]
        assert same, key
