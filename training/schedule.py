"""Schedules: how long to train and how fast to learn, as data (`training/schedules/*.toml`)."""

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn, optim

from mgts_trt.errors import MgtsError, first_fault
from mgts_trt.machine.data_files import read_toml

FOLDER = Path(__file__).resolve().parent / "schedules"


COURSE = ("length", "warmup", "decay", "milestones", "factor", "cooldown")
"""What of a schedule says nothing else than how the learning rate changes."""


class ScheduleError(MgtsError):
    """A schedule that does not exist, is malformed, or is asked for what it does not say."""


class Schedule(BaseModel):
    """The course of one training. The learning rate is a function of the iteration's number and of nothing else.

    It falls in steps, along a cosine, or not before a cool-down at the end (Zhai et al., CVPR 2022, Sec. 3.5).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(ge=1)
    unit: Literal["iterations", "epochs"] = Field("iterations", description="of length, warmup and milestones")
    length: int = Field(ge=1)
    optimizer: Literal["sgd", "adamw"]
    lr: float = Field(gt=0, description="at its highest")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; Faster R-CNN's, for the paper names none")
    weight_decay: float = Field(ge=0)
    warmup: int = Field(0, ge=0, description="the learning rate rises linearly over it")
    decay: Literal["steps", "cosine", "cooldown"]
    milestones: tuple[int, ...] = Field((), description="of steps: from each on the learning rate is multiplied")
    factor: float = Field(0.1, gt=0, le=1, description="of steps (Sec. 4.3)")
    cooldown: float = Field(0.2, gt=0, le=1, description="last share of length, where the rate falls linearly to 0")
    clip: float | None = Field(None, gt=0, description="greatest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights, which are then the result")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warmup >= self.length:
            raise ValueError(f"warmup must be shorter than length = {self.length}, got {self.warmup}")
        if self.decay != "steps" and self.milestones:
            raise ValueError(f"milestones belong to decay = 'steps', not {self.decay!r}; got {list(self.milestones)}")
        bounds = (0, *self.milestones, self.length)
        if any(first >= second for first, second in itertools.pairwise(bounds)):
            raise ValueError(f"milestones must rise between 0 and length = {self.length}, got {list(self.milestones)}")
        return self

    def in_iterations(self, epoch: int) -> "Schedule":
        """The same schedule counted in iterations, of which an epoch has `epoch`."""
        return self if self.unit == "iterations" else self._times(epoch, self.length * epoch)

    def of_length(self, iterations: int) -> "Schedule":
        """The same course in another number of iterations: warm-up and milestones move in proportion.

        With a cool-down, the warm-up stays as long as it is if there is room: a run at its constant rate may be ended
        by another length at any time, see `goes_on_from`.

        Raises:
            ScheduleError: It is counted in epochs still, or `iterations` leaves no room for its milestones.
        """
        self._need_iterations()
        if self.decay == "cooldown" and self.warmup < iterations * (1 - self.cooldown):
            return self.model_copy(update={"length": iterations})
        try:
            return self._times(iterations / self.length, iterations)
        except ValidationError as error:
            raise ScheduleError(
                f"{iterations} iterations are too few for this schedule of {self.length}, which has "
                f"{len(self.milestones)} milestones. Ask for more iterations."
            ) from error

    def learning_rate(self, iteration: int) -> float:
        """Of one iteration, 0 … length − 1.

        Raises:
            ScheduleError: The schedule is counted in epochs still.
        """
        self._need_iterations()
        if iteration < self.warmup:
            return self.lr * (iteration + 1) / self.warmup
        if self.decay == "cosine":
            progress = (iteration - self.warmup) / (self.length - self.warmup)
            return self.lr * (1 + math.cos(math.pi * progress)) / 2
        if self.decay == "cooldown":
            return self.lr * min(1.0, (self.length - iteration) / (self.cooldown * self.length))
        return self.lr * self.factor ** sum(iteration >= milestone for milestone in self.milestones)

    def goes_on_from(self, other: Mapping[str, Any], done: int) -> bool:
        """Whether a run that has done so many iterations of another schedule is one of this schedule so far.

        Args:
            other: The other schedule's fields by name; further entries are passed over.
            done: Iterations done.

        Returns:
            True if both gave these iterations the same learning rates and this one is not shorter; what else differs
            (`batch_size`, `ema`, …) is not looked at.
        """
        try:
            before = Schedule.model_validate({name: other[name] for name in Schedule.model_fields if name in other})
        except ValidationError:
            return False
        if done > self.length or before.unit != self.unit:
            return False
        return all(self.learning_rate(i) == before.learning_rate(i) for i in range(done))

    def create_optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The optimizer of these parameters."""
        if self.optimizer == "adamw":
            return optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _times(self, factor: float, length: int) -> "Schedule":
        values = {
            "unit": "iterations",
            "length": length,
            "warmup": min(round(self.warmup * factor), length - 1),
            "milestones": tuple(round(milestone * factor) for milestone in self.milestones),
        }
        return Schedule.model_validate({**self.model_dump(), **values})

    def _need_iterations(self) -> None:
        if self.unit != "iterations":
            raise ScheduleError(
                f"This schedule counts {self.length} epochs; say how many iterations an epoch has: in_iterations(N)."
            )


def load_schedule(name: str, part: str) -> Schedule:
    """The schedule of `part` (`detector`, `masknet`, `reid`) in `name`, or in the TOML file `name`.

    Raises:
        ScheduleError: There is no such schedule, or it is malformed.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        parts = read_toml(path)
        if part not in parts:
            raise ScheduleError(f"The schedule {path} has no part [{part}]; it has {', '.join(parts) or 'none'}.")
        return Schedule.model_validate(parts[part])
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise ScheduleError(
            f"There is no schedule {name!r}; there are {known}, or name a .toml file of your own."
        ) from error
    except ValidationError as error:
        raise ScheduleError(f"The schedule {path} is malformed in [{part}] {first_fault(error)}.") from error
    except ValueError as error:
        raise ScheduleError(f"The schedule {path} is malformed: {error}.") from error
