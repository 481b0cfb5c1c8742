"""What every command prints alike: notes, tables, progress; and how it reads what several take."""

from pathlib import Path
from typing import TYPE_CHECKING

from mgts_trt.choices import MODES, Mode
from mgts_trt.cli.terminal import Records, Terminal, styled
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for them
    from rich.progress import Progress, ProgressColumn

    from mgts_trt.bundle.manifest import Manifest

out = Terminal()
err = Terminal(stderr=True)


def warn(message: str) -> None:
    """One line on standard error."""
    err.print(styled(("Note:", "yellow"), f" {message}"))


def table(*headings: str, title: str | None = None) -> Records:
    """An empty table; a heading that begins with `>` aligns its column to the right."""
    return Records(*headings, title=title)


def notice_untrained(manifest: "Manifest") -> None:
    """Say in one line that results mean nothing, if they do."""
    if not manifest.training.trained:
        note = f" ({manifest.training.note})" if manifest.training.note else ""
        warn(
            f"the bundle's weights are untrained{note}: speeds and parity are real, boxes and embeddings mean nothing."
        )


def progress(*more: "ProgressColumn", transient: bool = True) -> "Progress":
    """A progress bar on standard error, gone when it is done; with more columns, if wanted."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *more,
        console=err,
        transient=transient,
    )


def find_bundle(given: Path | None) -> Path:
    """The bundle given, else the one that is meant where none is: see `default_bundle`, also for its error."""
    from mgts_trt.bundle.default import default_bundle

    return default_bundle() if given is None else given


def split(text: str) -> tuple[str, ...]:
    """The parts of an option that takes several values with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_modes(text: str, held: tuple[Mode, ...] = MODES) -> tuple[Mode, ...]:
    """`all`, which is those `held`, or some modes with commas between them, in the order of Table 6.

    Raises:
        MgtsError: A name is no mode, or there is none.
    """
    chosen = held if text == "all" else split(text)
    if not chosen or any(name not in MODES for name in chosen):
        raise MgtsError(f"There is no mode {text!r}; expected all, or some of {', '.join(MODES)} with commas between.")
    return tuple(mode for mode in MODES if mode in chosen)
