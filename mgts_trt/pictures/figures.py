"""Figures of numbers, drawn by matplotlib, which is an extra, in the colours of the service's page."""

from pathlib import Path
from typing import Any

from mgts_trt.errors import MgtsError
from mgts_trt.pictures.palette import CONTROL, LINE, MUTED, PEOPLE, SURFACE, TEXT

_LOOK: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": CONTROL,
    "axes.facecolor": SURFACE,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": TEXT,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": SURFACE,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "xtick.color": CONTROL,
    "xtick.labelcolor": MUTED,
    "ytick.color": CONTROL,
    "ytick.labelcolor": TEXT,
}
"""What differs from matplotlib's defaults. The ground is opaque, so that dark text stays readable on a dark page."""
_LINES = tuple(PEOPLE[i] for i in (4, 5, 2, 6, 0, 1))
"""Of lines and bars that have no colour of their own; without the yellow, which does not show on white."""


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, inches, whose axes look as the service's page does.

    matplotlib's own settings, which belong to the application, stay as they are.

    Raises:
        MgtsError: matplotlib is not installed.
    """
    try:
        from cycler import cycler
        from matplotlib import rc_context
        from matplotlib.figure import Figure  # without pyplot, which would look for a display
    except ImportError as error:
        raise MgtsError("Figures need matplotlib, which is not installed: `pip install matplotlib`.") from error

    class PageFigure(Figure):
        """Axes take their look when they are made."""

        def add_subplot(self, *args: Any, **kwargs: Any) -> Any:
            with rc_context({**_LOOK, "axes.prop_cycle": cycler(color=_LINES)}):
                return super().add_subplot(*args, **kwargs)

    return PageFigure(figsize=(width, height), layout="constrained", facecolor=SURFACE)


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure to a PNG, SVG or PDF file; its folder is made if need be.

    Raises:
        MgtsError: It cannot be written, or not in such a format.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, facecolor=figure.get_facecolor(), transparent=False)
    except (OSError, ValueError) as error:
        raise MgtsError(
            f"Cannot write the figure {path}: {error}. Name a .png, .svg or .pdf in a folder that can be written to."
        ) from error
    return path
