"""The training loop: a run that is killed at any point and started again ends with the weights it would have had."""

import json
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import replace_file
from mgts_trt.machine.signals import signals_handled
from training.checkpoint import CheckpointError, save_checkpoint
from training.log import Log, plot_losses
from training.schedule import COURSE, Schedule
from training.tasks.task import Task

STATE = "state.pt"
LOG = "log.csv"
PLOT = "loss.png"

Amp = Literal["off", "bf16", "fp16"]
_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SMALLEST_SCALE = torch.finfo(torch.float16).tiny
"""Loss scale at which fp16 has plainly failed: its smallest normal number, 2⁻¹⁴, to which PyTorch comes by halving its
first scale 30 times."""


class TrainingError(MgtsError):
    """A training that cannot go on."""


@dataclass(frozen=True)
class Step:
    """One finished iteration.

    Attributes:
        iteration: Its number, from 0.
        lr: Learning rate.
        losses: The task's named losses; their sum was minimised.
        seconds: It took, waiting for its batch included.
    """

    iteration: int
    lr: float
    losses: dict[str, float]
    seconds: float


def train(
    task: Task,
    schedule: Schedule,
    out: Path,
    *,
    model: str,
    preset: str,
    device: str = "cpu",
    amp: Amp = "off",
    checkpoint_every: int = 1000,
    seed: int = 0,
    stop_at: int | None = None,
    settings: Mapping[str, str | int | float | None] | None = None,
    workers: int = 2,
    fresh: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Path | None:
    """Train a task's network to the end of its schedule, from the last checkpoint in `out` where there is one.

    `out` receives `state.pt` (all that is needed to go on), `log.csv`, `loss.png`, and with each checkpoint and at the
    end `<model>.safetensors`, the outcome so far. The state and the weights are replaced in one step each. PyTorch's
    generators are seeded anew for each iteration, and batches depend on their number alone: on the CPU an interrupted
    run gives bit for bit the weights of an undisturbed one. SIGTERM and SIGINT, unless ignored, end the run after the
    current iteration, with a checkpoint; a second one ends it at once.

    Args:
        task: What is trained; its modules move to `device`.
        schedule: Counted in iterations.
        out: Folder of the run, made if need be.
        model: Name of the network in `training.models.CLASSES`.
        preset: Name of the preset.
        device: `cpu`, `cuda`, `cuda:1`, …
        amp: Mixed precision: half-precision autocast, for `fp16` with loss scaling.
        checkpoint_every: Iterations between checkpoints, at least 1.
        seed: Of dropout and whatever else draws from PyTorch's generators; at least 0.
        stop_at: End, with a checkpoint, when so many iterations are done, although the schedule is longer.
        settings: What else makes this run what it is (dataset, mode, …): a run goes on only with the same, and with a
            schedule that has the same learning rates up to there; so one at a constant rate may be prolonged.
        workers: Threads that make batches ahead of time, at least 1.
        fresh: Begin anew, whatever `out` holds.
        on_step: Called after each iteration.

    Returns:
        The weights' file, or None where the run ended before its schedule.

    Raises:
        TrainingError: A loss is not finite, gradients of fp16 never are, or `out` holds a run with other settings.
        CheckpointError: The state in `out` is damaged.
    """
    if checkpoint_every < 1 or workers < 1 or seed < 0:
        raise TrainingError(
            f"checkpoint_every {checkpoint_every} and workers {workers} must be at least 1, seed {seed} at least 0."
        )
    out.mkdir(parents=True, exist_ok=True)
    identity = {"model": model, "preset": preset, "seed": seed, **schedule.model_dump(), **(settings or {})}
    identity = json.loads(json.dumps(identity))  # plain values, as a state file may hold them
    run = _Run(task, schedule, identity, torch.device(device), amp)
    for name in (STATE, LOG, PLOT, f"{model}.safetensors"):
        for left in out.glob(f".{name}.*"):
            left.unlink(missing_ok=True)  # of a run killed while it wrote
        if fresh:
            (out / name).unlink(missing_ok=True)
    run.resume(out / STATE)
    weights = out / f"{model}.safetensors"
    end = schedule.length if stop_at is None else min(stop_at, schedule.length)
    saved = run.iteration
    cuda = [run.device] if run.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=cuda),
        Log(out / LOG, run.iteration) as log,
        _stop_signals() as stopped,
        _prefetch(task, run.iteration, end, workers) as batches,
    ):
        while run.iteration < end and not stopped.is_set():
            start, iteration = time.perf_counter(), run.iteration
            lr = schedule.learning_rate(iteration)
            # Hashed: PyTorch's CPU generator takes the lower 32 bits of a seed only.
            torch.manual_seed(int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0]))
            losses = run.step(next(batches), lr, saved, out)
            step = Step(iteration, lr, losses, time.perf_counter() - start)
            log.write(iteration, lr, losses, step.seconds)
            if run.iteration % checkpoint_every == 0:
                log.sync()
                run.save(out / STATE)
                save_checkpoint(weights, run.result, model=model, preset=preset)
                saved = run.iteration
            if on_step is not None:
                on_step(step)
        log.sync()
    if saved != run.iteration:
        run.save(out / STATE)
    save_checkpoint(weights, run.result, model=model, preset=preset)
    _plot(out)
    return weights if run.iteration == schedule.length else None


class _Run:
    """All that changes while training."""

    def __init__(
        self, task: Task, schedule: Schedule, identity: dict[str, Any], device: torch.device, amp: Amp
    ) -> None:
        self.task, self.schedule, self.device, self.identity = task, schedule, device, identity
        self.iteration = 0
        self._half, self._clip = _HALVES.get(amp), schedule.clip
        # Channels last: what oneDNN and cuDNN's half-precision kernels are quickest with.
        task.modules.to(device=device, memory_format=torch.channels_last).train()
        self._parameters = task.parameters()
        self._optimizer = schedule.create_optimizer(self._parameters)
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self._average: AveragedModel | None = None
        if schedule.ema is not None:
            # Statistics of batch normalisation are averaged with the weights they belong to.
            self._average = AveragedModel(
                task.modules["network"], multi_avg_fn=get_ema_multi_avg_fn(schedule.ema), use_buffers=True
            )

    @property
    def result(self) -> nn.Module:
        """The network that is the outcome: the averaged one where the schedule asks for it."""
        return self.task.modules["network"] if self._average is None else self._average.module

    def step(self, batch: Any, lr: float, saved: int, out: Path) -> dict[str, float]:
        """One iteration; returns the losses."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None):
            losses = self.task.losses(batch)
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        named = dict(zip(losses, values.tolist(), strict=True))  # one transfer from the GPU
        if not bool(torch.isfinite(values).all()):
            raise TrainingError(
                f"The loss of iteration {self.iteration} is not finite ({named}). {_from(saved, out)} Lower the "
                "learning rate, set or lower the schedule's clip, or train without fp16; then begin anew."
            )
        self._scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        if self._clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # Steps with gradients that are not finite are skipped; if they never are, nothing is learnt.
        if self._scaler.is_enabled() and self._scaler.get_scale() < _SMALLEST_SCALE:
            raise TrainingError(
                f"The gradients have not been finite for many iterations up to {self.iteration}, though the losses are "
                f"({named}): fp16's loss scale is down to {self._scaler.get_scale():.1g}. {_from(saved, out)} Go on "
                "with bf16, or without mixed precision."
            )
        if self._average is not None:
            self._average.update_parameters(self.task.modules["network"])
        self.iteration += 1
        return named

    def save(self, path: Path) -> None:
        """Write the state in one step, which not even a power cut leaves half done."""
        state = {
            "identity": self.identity,
            "iteration": self.iteration,
            "modules": self.task.modules.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }
        with replace_file(path, sync=True) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def resume(self, path: Path) -> None:
        """Go on from a state, if there is one."""
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            identity, iteration = state["identity"], state["iteration"]
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is no readable training state: {error}. Begin anew with --fresh, or name another folder."
            ) from error
        names = sorted(identity.keys() | self.identity.keys())
        if self.schedule.goes_on_from(identity, iteration):
            names = [name for name in names if name not in COURSE]
        differing = [
            f"{name} {identity.get(name)!r} there, {self.identity.get(name)!r} now"
            for name in names
            if identity.get(name) != self.identity.get(name)
        ]
        if differing:
            raise TrainingError(
                f"{path} belongs to another run: {'; '.join(differing)}. Give the same settings to go on with it; to "
                "train with these, begin anew with --fresh or name another folder."
            )
        try:
            self.task.modules.load_state_dict(state["modules"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._scaler.is_enabled() and state["scaler"]:
                self._scaler.load_state_dict(state["scaler"])
            if self._average is not None:
                self._average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} does not fit this network and data: {error}. Begin anew with --fresh, or name another folder."
            ) from error
        self.iteration = iteration


def _from(saved: int, out: Path) -> str:
    return f"The last checkpoint, {out / STATE}, is of iteration {saved}." if saved else "There is no checkpoint yet."


def _plot(out: Path) -> None:
    try:
        plot_losses(out / LOG, out / PLOT)
    except MgtsError:  # matplotlib is an extra; the log holds the same
        return


@contextmanager
def _prefetch(task: Task, start: int, end: int, workers: int) -> Iterator[Iterator[Any]]:
    """The batches `start` … `end` − 1 in order, made by threads ahead of time."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
    numbers = iter(range(start, end))
    waiting: deque[Future[Any]] = deque()

    def batches() -> Iterator[Any]:
        for number in numbers:
            waiting.append(pool.submit(task.batch, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield batches()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the second signal acts as it would without this."""
    stopped = threading.Event()
    with ExitStack() as handled:

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopped.set()
            handled.close()

        handled.enter_context(signals_handled(stop, signal.SIGTERM, signal.SIGINT))
        yield stopped
