"""The report as one picture: latency by mode, throughput by depth, roofline, memory over the soak."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import Report
from mgts_trt.pictures.figures import new_figure, save_figure
from mgts_trt.pictures.palette import ACCENT, CONTROL, LINE, STAGES


def plot(report: Report, path: Path) -> bool:
    """Write a PNG with a panel for each part that has something to show.

    Returns:
        Whether there was anything.

    Raises:
        MgtsError: matplotlib is missing, or the file cannot be written.
    """
    panels = _panels(report)
    if not panels:
        return False
    heights = [height for height, _ in panels]
    figure = new_figure(10, sum(heights))
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for axis, (_, draw) in zip(axes[:, 0], panels, strict=True):
        draw(axis)
    height, width = report.canvas
    figure.suptitle(f"{report.preset}, {report.people} people, {height}×{width}, {report.device}")
    save_figure(figure, path)
    return True


def _panels(report: Report) -> list[tuple[float, Callable[[Any], None]]]:
    """Height in inches, and what draws it."""
    panels: list[tuple[float, Callable[[Any], None]]] = []
    bars = sum(side.latency is not None for group in report.pipeline for side in group.sides)
    if bars:
        panels.append((1.2 + 0.25 * bars, lambda axis: _latency(axis, report)))
    if any(side.images_per_second for group in report.pipeline for side in group.sides):
        panels.append((4, lambda axis: _throughput(axis, report)))
    if report.roofline:
        panels.append((1.2 + 0.25 * len(report.roofline), lambda axis: _roofline(axis, report)))
    if report.soak:
        panels.append((3, lambda axis: _memory(axis, report)))
    return panels


def _latency(axis: Any, report: Report) -> None:
    labels, values, errors, colours = [], [], [], []
    for group in report.pipeline:
        for side in group.sides:
            if side.latency is not None:
                labels.append(f"{group.what}, {group.precision}: {side.label}")
                values.append(side.latency.p50)
                errors.append(side.latency.p99 - side.latency.p50)
                colours.append(CONTROL if side.label.startswith("PyTorch") or "ONNX" in side.label else ACCENT)
    axis.barh(labels, values, xerr=[[0] * len(errors), errors], color=colours)
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xlabel("milliseconds a picture: p50, whisker to p99")


def _throughput(axis: Any, report: Report) -> None:
    for group in report.pipeline:
        for side in group.sides:
            if side.images_per_second:
                depths = sorted(side.images_per_second)
                rates = [side.images_per_second[depth] for depth in depths]
                axis.plot(depths, rates, "o-", label=f"{group.what}, {group.precision}: {side.label}")
                axis.set_xticks(depths)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("pictures in flight")
    axis.set_ylabel("images/s")
    axis.legend(fontsize=6, ncols=2)


def _roofline(axis: Any, report: Report) -> None:
    labels = [f"{row.model}, {row.precision}: {row.side}" for row in report.roofline]
    axis.barh(labels, [row.measured_ms for row in report.roofline], color=LINE, label="measured")
    for values, marker, label in (
        ([row.unfused_ms for row in report.roofline], "|", "layer by layer"),
        ([row.floor_ms for row in report.roofline], "d", "floor"),
    ):
        axis.plot(values, labels, marker, color=STAGES["reid"], label=label)
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds")
    axis.legend(fontsize=7)


def _memory(axis: Any, report: Report) -> None:
    for row in report.soak:
        images = [each.images for each in row.memory]
        for name, values in (
            ("device", [each.device_mib for each in row.memory]),
            ("host", [each.host_mib for each in row.memory]),
        ):
            if None not in values:
                axis.plot(images, values, label=f"{row.mode}, {row.precision}: {name}")
    axis.set_xlabel("pictures")
    axis.set_ylabel("MiB in use")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
