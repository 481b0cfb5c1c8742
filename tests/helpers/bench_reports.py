"""A report of `bench` with numbers that are easy to tell apart."""

from mgts_trt.evaluation.bench import BenchReport, ModeResult, Percentiles

STAGE_MS = {"letterbox": 5.0, "detector": 100.0, "masknet": 80.0, "separate": 10.0, "reid": 50.0}


def bench_report(preset: str = "edge", scale: float = 1.0) -> BenchReport:
    """Of all modes, every stage as long as `STAGE_MS` says, times a scale."""
    modes = []
    for mode in ("none", "net", "box"):
        parts = {stage: scale * ms for stage, ms in STAGE_MS.items() if mode == "net" or stage != "masknet"}
        parts["total"] = sum(parts.values())
        stages = {stage: Percentiles(p50=ms, p90=2 * ms, p99=3 * ms, mean=ms) for stage, ms in parts.items()}
        modes.append(ModeResult(mode=mode, people=8, stages=stages, images_per_second=1.0))
    return BenchReport(
        mgts_trt="0", backend="onnxruntime", reason="", device="CPU, 2 threads", cpu="A CPU", python="3", platform="",
        bundle="bundle", preset=preset, trained=True, precision="fp32", canvas=(480, 800), image="a.jpg",
        image_hw=(600, 1116), runs=1, warmup=0, modes=modes,
    )  # fmt: skip
