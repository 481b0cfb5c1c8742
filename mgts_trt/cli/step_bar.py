"""How far the steps of each model are, where models are exported or converted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import Progress

from mgts_trt.bundle.recipe import MODELS
from mgts_trt.cli.console import progress


class StepBar:
    """A progress bar over the steps of each model, and one over pictures where a step takes long."""

    def __init__(self, bar: Progress, steps: Sequence[str]) -> None:
        self._bar, self._steps = bar, list(steps)
        self._task = bar.add_task("preparing", total=len(MODELS) * len(steps))
        self._pictures = bar.add_task("pictures", visible=False)

    def on_step(self, model: str, step: str) -> None:
        """Show a step; what is no model's comes at the end."""
        done = len(MODELS) * len(self._steps)
        if model in MODELS:
            done = MODELS.index(model) * len(self._steps) + self._steps.index(step)
        self._bar.update(self._task, completed=done, description=f"{step} {model}")
        self._bar.update(self._pictures, visible=False)

    def on_picture(self, model: str, done: int, total: int) -> None:
        """Show how many pictures a step has been through."""
        self._bar.update(self._pictures, completed=done, total=total, visible=True, description=f"pictures, {model}")


@contextmanager
def step_bar(steps: Sequence[str]) -> Iterator[StepBar]:
    """A `StepBar` while it is needed."""
    with progress() as bar:
        yield StepBar(bar, steps)
