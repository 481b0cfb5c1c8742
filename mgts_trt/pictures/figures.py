"""Figures of numbers, drawn by matplotlib, which is an extra."""

from pathlib import Path
from typing import Any

from mgts_trt.errors import MgtsError


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, inches.

    Raises:
        MgtsError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot, which would look for a display
    except ImportError as error:
        raise MgtsError("Figures need matplotlib: `pip install matplotlib`, or leave out --out.") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, folder: Path, name: str) -> Path:
    """Write a figure as a PNG into a folder, which is made if need be.

    Raises:
        MgtsError: It cannot be written.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise MgtsError(f"Cannot write {path}: {error.strerror}. Name a folder that can be written to.") from error
    return path
