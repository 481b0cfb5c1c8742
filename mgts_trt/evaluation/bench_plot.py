"""A report of `bench` as bars: a mode's stages end to end, beside the paper's where the networks are the paper's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.choices import Mode
from mgts_trt.counts import people_of
from mgts_trt.evaluation.bench import PAPER_DEVICE, PAPER_SECONDS, PAPER_STAGE_MS, BenchReport
from mgts_trt.pictures.figures import new_figure, save_figure
from mgts_trt.pictures.palette import LINE, MUTED, STAGES, SURFACE, TEXT, ink_on

WHOLE = "all stages"
"""Of a bar of which only the total is known."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: What stands before it.
        parts: Milliseconds by stage, in the order they run; or of `WHOLE`.
        total: Milliseconds.
    """

    label: str
    parts: dict[str, float]
    total: float


def bench_bars(report: BenchReport) -> list[Bar]:
    """The bars of a report, from the top: each mode's p50, below it the paper's if the preset is the paper's.

    Sec. 4.7 of the paper has the stages of mode `net`; of the others Table 6 has the total alone.
    """
    bars = []
    for result in report.modes:
        parts = {stage: times.p50 for stage, times in result.stages.items() if stage != "total"}
        bars.append(Bar(f"{result.mode}, {people_of(result.people)}", parts, result.stages["total"].p50))
        if report.preset == "paper" and result.mode in PAPER_SECONDS:
            bars.append(_paper_bar(result.mode))
    return bars


def bench_plot(report: BenchReport, path: Path) -> None:
    """Draw p50 by stage, one stacked bar a mode, to a PNG, SVG or PDF file.

    Raises:
        MgtsError: matplotlib is not installed, or cannot write such a file.
    """
    bars = bench_bars(report)
    figure = new_figure(8, 1.5 + 0.45 * len(bars))
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    widest = max(bar.total for bar in bars)
    for row, bar in enumerate(bars):
        _draw_bar(axes, row, bar, widest)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.14 * widest)
    axes.set_xlabel("milliseconds a picture, p50 of each stage", fontsize=8)
    figure.suptitle(
        f"{report.backend} on {report.device} ({report.cpu}); preset {report.preset}, {report.precision}",
        x=0.01, ha="left", fontsize=9, color=TEXT,
    )  # fmt: skip
    stages = [stage for stage in STAGES if any(stage in bar.parts for bar in bars)]
    _add_legend(figure, axes, stages)
    save_figure(figure, path)


def _paper_bar(mode: Mode) -> Bar:
    total = PAPER_SECONDS[mode] * 1e3
    return Bar(f"the paper, {PAPER_DEVICE}", dict(PAPER_STAGE_MS) if mode == "net" else {WHOLE: total}, total)


def _draw_bar(axes: Any, row: int, bar: Bar, widest: float) -> None:
    left = 0.0
    for stage, width in bar.parts.items():
        colour = STAGES.get(stage, LINE)
        # The light edge tells neighbours apart in print without colours, too.
        axes.barh(row, width, left=left, height=0.66, color=colour, edgecolor=SURFACE, linewidth=0.5)
        text = f"{stage} {width:.0f}"
        if width > widest * 0.013 * len(text):
            axes.text(left + width / 2, row, text, ha="center", va="center", fontsize=7.5, color=ink_on(colour))
        left += width
    total = f"{bar.total / 1e3:.2f} s" if bar.total >= 1e3 else f"{bar.total:.3g} ms"
    axes.annotate(
        total,
        (max(left, bar.total), row),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=TEXT,
        weight="bold",
    )


def _add_legend(figure: Any, axes: Any, stages: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=STAGES[stage], label=stage) for stage in stages]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(stages),
        fontsize=8,
        frameon=False,
        labelcolor=MUTED,
        handlelength=1,
        handleheight=1,
    )
