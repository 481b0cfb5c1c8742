"""The most this device does in this run: a large matrix product in each precision, and a large copy."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.gpu.job import Job
from benchmarks.gpu.report import Ceilings
from mgts_trt.machine.cpu import available_cores

_TRIES = 5


def measure(job: Job) -> Ceilings:
    """Of the GPU through PyTorch (cuBLAS), or of the CPU through NumPy.

    Raises:
        ImportError: PyTorch is missing.
    """
    return _gpu(job) if job.on_gpu else _cpu(job)


def _gpu(job: Job) -> Ceilings:
    import torch

    side, size = (2048, 64 << 20) if job.counts.rounds < 5 else (8192, 1 << 30)

    def seconds(run: Callable[[], object], runs: int) -> float:
        """Of one run: the best of some tries, after one that warms up."""
        best = float("inf")
        for _ in range(_TRIES + 1):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(runs):
                run()
            end.record()
            end.synchronize()
            best = min(best, start.elapsed_time(end) / 1e3 / runs)
        return best

    flop, tflops = 2 * side**3, {}
    exact, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        for name, dtype in (("fp16", torch.half), ("fp32", torch.float)):
            a, b = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
            out = torch.empty_like(a)
            tflops[name] = flop / seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), 10) / 1e12
        with job.leave_out("the ceiling of int8"):
            a, b = (torch.randint(-9, 9, (side, side), device="cuda", dtype=torch.int8) for _ in range(2))
            columns = b.t()  # as cuBLAS wants it for int8
            tflops["int8"] = flop / seconds(lambda: torch._int_mm(a, columns), 10) / 1e12
    finally:
        torch.backends.cuda.matmul.allow_tf32 = exact
    source, target = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    gbs = 2 * size / seconds(lambda: target.copy_(source), 10) / 1e9
    how = f"{side}³ products through torch {torch.__version__} (TF32 off), a copy of {size >> 20} MiB"
    return Ceilings(tflops=tflops, copy_gbs=gbs, how=how)


def _cpu(job: Job) -> Ceilings:
    side, size = (256, 8 << 20) if job.counts.rounds < 5 else (2048, 256 << 20)
    a, b = (np.random.default_rng(i).random((side, side), np.float32) for i in range(2))
    out = np.empty_like(a)
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)

    def seconds(run: Callable[[], object]) -> float:
        best = float("inf")
        for _ in range(_TRIES + 1):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
        return best

    return Ceilings(
        tflops={"fp32": 2 * side**3 / seconds(lambda: np.matmul(a, b, out=out)) / 1e12},
        copy_gbs=2 * size / seconds(lambda: np.copyto(target, source)) / 1e9,
        how=f"NumPy on the CPU ({available_cores()} cores): {side}³ products, a copy of {size >> 20} MiB",
    )
