"""The record of a training: one CSV row an iteration, and its picture."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import replace_file
from mgts_trt.pictures.figures import new_figure, save_figure


class LogError(MgtsError):
    """A log that does not fit the training that would go on with it."""


class Log:
    """`iteration, lr, loss, each named loss, seconds`, appended row by row.

    Opening cuts the rows from `iteration` on: those a killed run wrote after its last checkpoint, which are now
    computed again. So each iteration is in the log once.

    Args:
        path: The CSV file; created with the first row.
        iteration: The first one that will be written.

    Raises:
        LogError: The file ends before the row that precedes `iteration`.
    """

    def __init__(self, path: Path, iteration: int) -> None:
        header, rows = read_log(path) if iteration and path.exists() else ([], [])
        rows = [row for row in rows if int(row[0]) < iteration]
        if rows and int(rows[-1][0]) != iteration - 1:
            raise LogError(
                f"{path} ends with iteration {rows[-1][0]}, but the checkpoint beside it goes on with {iteration}. "
                "Put back the log that belongs to the checkpoint, or delete the log: it will then begin there."
            )
        self._names = header[3:-1] if rows else None
        kept = "".join(",".join(row) + "\n" for row in ([header, *rows] if rows else []))
        with replace_file(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, iteration: int, lr: float, losses: Mapping[str, float], seconds: float) -> None:
        """Append one row.

        Raises:
            LogError: The losses are not those of the rows before.
        """
        if self._names is None:
            self._names = list(losses)
            self._writer.writerow(["iteration", "lr", "loss", *self._names, "seconds"])
        if self._names != list(losses):
            raise LogError(
                f"Iteration {iteration} has the losses {list(losses)}, but the log has {self._names}. "
                "A task names the same losses in every iteration; one that does not apply is 0."
            )
        values = (sum(losses.values()), *losses.values())
        self._writer.writerow([iteration, f"{lr:.8g}", *(f"{value:.6g}" for value in values), f"{seconds:.3f}"])
        self._file.flush()

    def sync(self) -> None:
        """Bring all rows to the disk, before the checkpoint that counts on them."""
        os.fsync(self._file.fileno())


def read_log(path: Path) -> tuple[list[str], list[list[str]]]:
    """The column names and the whole rows of a log; a row that was cut off while it was written is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [line.strip().split(",") for line in lines if line.endswith("\n")]
    return (rows[0], rows[1:]) if rows else ([], [])


def plot_losses(log: Path, picture: Path) -> None:
    """Draw a log's losses (pale; strong as a running mean) and learning rate to a PNG; nothing if it has no rows.

    Raises:
        MgtsError: matplotlib is not installed, or the picture cannot be written.
    """
    header, rows = read_log(log)
    if not rows:
        return
    values = np.array(rows, np.float64)
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot(xlabel="iteration", ylabel="loss")
    window = max(1, len(values) // 50)  # short enough to show warm-up and decay
    for column, name in enumerate(header[2:-1], start=2):
        if column > 2 and len(header) == 5:
            continue  # the only loss is the sum
        losses = values[:, column]
        line = axes.plot(values[:, 0], losses, alpha=0.2, linewidth=0.8)[0]
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(values[window - 1 :, 0], smooth, color=line.get_color(), label=name)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    rate = axes.twinx()
    rate.grid(visible=False)
    rate.plot(values[:, 0], values[:, 1], color="grey", linestyle=":", linewidth=1)
    rate.set(ylabel="learning rate (dotted)", yscale="log")
    save_figure(figure, picture)
