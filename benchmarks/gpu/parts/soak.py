"""Part `soak`: thousands of pictures; device memory must stay where it is, and latency should."""

import itertools
import time
from collections.abc import Sequence

from benchmarks.environment import device_memory_used, host_memory_used
from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.pipeline import open_pipeline
from benchmarks.gpu.report import Latency, MemorySample, SoakResult
from mgts_trt.choices import Mode

DEPTH = 2
"""Pictures in flight."""

ALLOWED_MIB = 8.0
"""Growth of device memory that counts as none: a few of the driver's 2 MiB pages, which others may take, too."""

_SAMPLES = 100


def plan(job: Job) -> list[str]:
    """What would be measured."""
    mode, precision = choose(job)
    return [f"{job.counts.soak} pictures in mode {mode}, {precision}, {DEPTH} in flight; memory looked at all along"]


def run(job: Job) -> None:
    """Fill `report.soak`."""
    mode, precision = choose(job)
    images = job.counts.soak
    every = max(1, images // _SAMPLES)
    gaps, memory = [], [sample(0)]
    with open_pipeline(job, mode, precision) as search:
        start = last = time.perf_counter()
        for i, _ in enumerate(search.stream(itertools.repeat(job.image, images), depth=DEPTH, top=job.people), 1):
            now = time.perf_counter()
            gaps.append((now - last) * 1e3)
            if i % every == 0:
                memory.append(sample(i))
                job.say(f"soak: {i} of {images}")
                now = time.perf_counter()
            last = now
        seconds = time.perf_counter() - start
    job.report.soak.append(judge(gaps, memory, mode=mode, precision=precision, seconds=seconds))


def choose(job: Job) -> tuple[Mode, str]:
    """The mode that runs the most networks, in fp16 if the bundle has it."""
    mode: Mode = "net" if "net" in job.modes else job.modes[-1]
    held = job.precisions_of(mode) or job.precisions
    return mode, "fp16" if "fp16" in held else held[0]


def sample(images: int) -> MemorySample:
    """Memory in use now."""
    device = device_memory_used()
    return MemorySample(
        images=images, device_mib=None if device is None else device / 2**20, host_mib=host_memory_used() / 2**20
    )


def judge(
    gaps: Sequence[float], memory: Sequence[MemorySample], *, mode: Mode, precision: str, seconds: float
) -> SoakResult:
    """What became of latency and memory.

    Args:
        gaps: Milliseconds from one result to the next.
        memory: In order; those of the first tenth of pictures are warm-up.
        mode: Of the pipeline.
        precision: Of its networks.
        seconds: All in all.
    """
    images, tenth = len(gaps), max(1, len(gaps) // 10)
    settled = [each.device_mib for each in memory if each.images >= tenth and each.device_mib is not None]
    growth = settled[-1] - settled[0] if settled else None
    return SoakResult(
        mode=mode,
        precision=precision,
        depth=DEPTH,
        images=images,
        seconds=seconds,
        first=Latency.of(gaps[tenth : 2 * tenth] or gaps),
        last=Latency.of(gaps[-tenth:]),
        memory=list(memory),
        growth_mib=growth,
        flat=None if growth is None else growth <= ALLOWED_MIB,
    )
