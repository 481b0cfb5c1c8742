"""What every command prints alike: errors, notices, progress."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from mgts_trt.bundle.manifest import MANIFEST, Manifest
from mgts_trt.errors import BundleError, MgtsError
from mgts_trt.runtime.modes import MODES, Mode
from mgts_trt.urls import masked

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DEBUG = "--debug"
BUNDLE_VARIABLE = "MGTS_BUNDLE"


def run_app(app: Callable[[], object]) -> None:
    """Run a command-line app; expected errors become one paragraph and exit code 2.

    `--debug`, anywhere on the command line, shows the traceback instead.
    """
    debug = DEBUG in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != DEBUG]
    try:
        app()
    except MgtsError as error:
        if debug:
            raise
        err.print(f"[bold red]Error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        err.print(
            f"[bold red]Internal error:[/] {type(error).__name__}: {_plain(str(error))}\n"
            f"This is a defect of mgts-trt. Run the command again with {DEBUG} and report what it prints.",
            soft_wrap=True,
        )
        sys.exit(70)


def warn(message: str) -> None:
    """One line on standard error."""
    err.print(f"[yellow]Note:[/] {_plain(message)}", soft_wrap=True)


def table(*headings: str, title: str | None = None) -> Table:
    """An empty table that fits 80 columns; a heading that begins with `>` aligns its column to the right."""
    empty = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD)
    empty.padding = (0, 1, 0, 0)
    for heading in headings:
        empty.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", no_wrap=True
        )
    return empty


def notice_untrained(manifest: Manifest) -> None:
    """Say in one line that results mean nothing, if they do."""
    if not manifest.training.trained:
        note = f" ({manifest.training.note})" if manifest.training.note else ""
        warn(
            f"the bundle's weights are untrained{note}: speeds and parity are real, boxes and embeddings mean nothing."
        )


def progress(*more: ProgressColumn, transient: bool = True) -> Progress:
    """A progress bar on standard error, gone when it is done; with more columns, if wanted."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *more,
        console=err,
        transient=transient,
    )


def find_bundle(given: Path | None) -> Path:
    """The bundle to use: the one given, `$MGTS_BUNDLE`, `./bundle`, or the one of the checkout this runs from.

    Raises:
        BundleError: None of them is there.
    """
    if given is not None:
        return given
    if named := os.environ.get(BUNDLE_VARIABLE):
        return Path(named)
    for folder in (Path("bundle"), Path(__file__).resolve().parents[2] / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    raise BundleError(
        f"No bundle was named, and there is none in ./bundle. Name its folder, or set {BUNDLE_VARIABLE}; "
        "`python -m export --out DIR` writes one."
    )


def split(text: str) -> tuple[str, ...]:
    """The parts of an option that takes several values with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_modes(text: str) -> tuple[Mode, ...]:
    """`all`, or some modes with commas between them, in the order of Table 6.

    Raises:
        MgtsError: A name is no mode, or there is none.
    """
    chosen = MODES if text == "all" else split(text)
    if not chosen or any(name not in MODES for name in chosen):
        raise MgtsError(f"There is no mode {text!r}; expected all, or some of {', '.join(MODES)} with commas between.")
    return tuple(mode for mode in MODES if mode in chosen)


def _plain(text: str) -> str:
    """Text without passwords, whose brackets are not rich's markup."""
    return masked(text).replace("[", "\\[")
