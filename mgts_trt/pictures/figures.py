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
        raise MgtsError("Figures need matplotlib, which is not installed: `pip install matplotlib`.") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure to a PNG, SVG or PDF file; its folder is made if need be.

    Raises:
        MgtsError: It cannot be written, or not in such a format.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise MgtsError(
            f"Cannot write the figure {path}: {error}. Name a .png, .svg or .pdf in a folder that can be written to."
        ) from error
    return path
