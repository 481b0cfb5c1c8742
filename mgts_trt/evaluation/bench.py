"""How fast the pipeline is on one picture, stage by stage, in each mode."""

import platform
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel

from mgts_trt._typing import Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Backend, LoweringChoice, Mode
from mgts_trt.errors import MgtsError
from mgts_trt.machine.cpu import cpu_name
from mgts_trt.runtime.people import STAGES, People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.version import __version__

PAPER_SECONDS: dict[Mode, float] = {"none": 0.65, "net": 1.27, "box": 0.69}
"""Table 6, overall runtime on a Tesla K80 for a 1500×900 picture."""

PAPER_STAGE_MS = {"detector": 626.0, "masknet": 579.0, "reid": 64.0}
"""Sec. 4.7, mode `net`, likewise."""

PAPER_DEVICE = "Tesla K80"


class Percentiles(BaseModel):
    """Milliseconds of one stage over the runs."""

    p50: float
    p90: float
    p99: float
    mean: float


class ModeResult(BaseModel):
    """One mode's times."""

    mode: Mode
    people: int
    stages: dict[str, Percentiles]
    """By name of `STAGES`, and `total`."""
    images_per_second: float
    """The inverse of the mean total."""


class BenchReport(BaseModel):
    """What `bench` measured, and on what."""

    mgts_trt: str
    backend: str
    reason: str
    device: str
    cpu: str
    python: str
    platform: str
    bundle: str
    preset: str
    trained: bool
    precision: str
    canvas: tuple[int, int]
    image: str
    image_hw: tuple[int, int]
    runs: int
    warmup: int
    batch: int = 1
    """Pictures at once; stages and totals are a picture's share."""
    modes: list[ModeResult]


def bench(
    bundle: Bundle,
    image: Image,
    *,
    image_name: str,
    modes: Sequence[Mode],
    runs: int = 20,
    warmup: int = 2,
    precision: str = "fp32",
    backend: Backend = "auto",
    ops: LoweringChoice = "auto",
    threads: int | None = None,
    top: int | None = None,
    batch: int = 1,
    on_warm_up: Callable[[int, int], None] = lambda done, total: None,
    on_run: Callable[[Mode], None] = lambda _: None,
) -> tuple[BenchReport, dict[Mode, People]]:
    """Run the pipeline again and again on one picture, in one mode after the other.

    Args:
        bundle: An opened bundle.
        image: uint8 [H, W, 3], RGB, decoded: decoding is not measured.
        image_name: For the report.
        modes: Which.
        runs: Measured runs a mode.
        warmup: Runs before them that are not measured.
        precision: Of the models.
        backend: See `PersonSearch.open`.
        ops: Likewise.
        threads: CPU threads.
        top: Describe just the `top` best detections, so that runs compare on equal work.
        batch: Pictures at once: a run is a call of `PersonSearch.batch` with the picture so many times.
        on_warm_up: See `PersonSearch.warm_up`, which comes before each mode's runs.
        on_run: Called after each run, warm-up included.

    Returns:
        The report, and the people each mode found in its last run.

    Raises:
        MgtsError: `runs` or `batch` is below 1 or `warmup` below 0; or what the pipeline raises.
    """
    if runs < 1 or warmup < 0 or batch < 1:
        raise MgtsError(
            f"At least one run of one picture and no negative warm-up expected, got {runs}, {batch} and {warmup}."
        )
    results, people = [], {}
    for mode in modes:
        with PersonSearch(
            bundle, mode=mode, backend=backend, precision=precision, threads=threads, ops=ops, batch_size=batch
        ) as search:
            search.warm_up(depth=1, on_progress=on_warm_up)
            timings = []
            for i in range(warmup + runs):
                people[mode] = search(image, top=top) if batch == 1 else search.batch([image] * batch, top=top)[-1]
                if i >= warmup:
                    timings.append(people[mode].timings)
                on_run(mode)
            runtime, ran_in = search.runtime, search.precision
        totals = [timing["total"] for timing in timings]
        results.append(
            ModeResult(
                mode=mode,
                people=len(people[mode]),
                stages={stage: _percentiles([t[stage] for t in timings]) for stage in _stages(timings[0])},
                images_per_second=1e3 / float(np.mean(totals)),
            )
        )
    manifest = bundle.manifest
    report = BenchReport(
        mgts_trt=__version__,
        backend=runtime.backend,
        reason=runtime.reason,
        device=runtime.device,
        cpu=cpu_name(),
        python=platform.python_version(),
        platform=platform.platform(),
        bundle=str(bundle.root),
        preset=manifest.preset,
        trained=manifest.training.trained,
        precision=ran_in,
        canvas=manifest.canvas,
        image=image_name,
        image_hw=(image.shape[0], image.shape[1]),
        runs=runs,
        warmup=warmup,
        batch=batch,
        modes=results,
    )
    return report, people


def _stages(timings: dict[str, float]) -> list[str]:
    return [stage for stage in (*STAGES, "total") if stage in timings]


def _percentiles(milliseconds: list[float]) -> Percentiles:
    p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
    return Percentiles(p50=p50, p90=p90, p99=p99, mean=float(np.mean(milliseconds)))
