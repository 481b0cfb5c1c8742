"""What the analyses' figures share."""

from collections.abc import Mapping, Sequence
from typing import Any

from mgts_trt.pictures.figures import new_figure

Curves = Mapping[str, Sequence[tuple[float, Mapping[str, float]]]]
"""By name of the curve: its points, each an abscissa and the measured numbers by name."""


def draw_curves(curves: Curves, *, across: str, title: str, numbers: Sequence[str] = ("mAP", "top-1")) -> Any:
    """One panel a number, one line a curve, in percent; each abscissa is named on the axis."""
    figure = new_figure(4.2 * len(numbers), 3.6)
    places = sorted({place for points in curves.values() for place, _ in points})
    wide = places[0] > 0 and places[-1] / places[0] > 5
    for panel, number in enumerate(numbers, 1):
        axes = figure.add_subplot(1, len(numbers), panel, xlabel=across, ylabel=f"{number} (%)")
        for name, points in curves.items():
            values = [100 * measured[number] for _, measured in points]
            axes.plot([place for place, _ in points], values, marker="o", label=name)
        if wide:
            axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    # Beside the panels, where no line can run beneath it.
    figure.legend(*axes.get_legend_handles_labels(), title="mode", loc="outside right center")
    figure.suptitle(title, fontsize=10)
    return figure
