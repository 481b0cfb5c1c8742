"""What GPUs can do by their maker's word, and what the networks are to reach on one of them."""

from benchmarks.gpu.report import Ceilings

PUBLISHED: dict[str, Ceilings] = {
    "H100": Ceilings(
        tflops={"fp16": 989.4, "int8": 1978.9, "fp32": 66.9},
        copy_gbs=3350,
        how="H100 SXM5 80 GB: NVIDIA, H100 Tensor Core GPU Architecture, table of peak rates; data sheet, bandwidth",
    ),
    "RTX 4090": Ceilings(
        # With sums in half, which TensorRT may take; with sums in float32 it is half of that.
        tflops={"fp16": 330.3, "int8": 660.6, "fp32": 82.6},
        copy_gbs=1008,
        how="NVIDIA, Ada GPU Architecture, appendix A, GeForce RTX 4090",
    ),
    "Orin": Ceilings(
        tflops={"fp16": 42.5, "int8": 85, "fp32": 5.3},
        copy_gbs=204.8,
        how="Jetson AGX Orin 64 GB, its GPU without the DLAs: NVIDIA, Jetson AGX Orin Series Technical Brief",
    ),
}
"""Peaks of dense products (tensor cores for fp16 and int8, CUDA cores for fp32), and bandwidth of the memory.

Where NVIDIA names the rate of sparse products only, half of it.
"""

AIMS: dict[tuple[str, str, str], float] = {
    ("paper", "net", "fp16"): 2.4,
    ("paper", "box", "fp16"): 1.9,
    ("paper", "net", "int8"): 1.6,
}
"""Preset, mode, precision → milliseconds a picture (p50) that the pipeline is to take."""

TIMES_AS_FAST = {"PyTorch eager": 3.0, "PyTorch compiled": 1.5}
"""What a side's name begins with → how many times as fast as the fastest of these the pipeline is to be, likewise."""

AIMED_AT = ("H100", "H200")
"""GPUs the aims are meant for, by what their names contain."""


def aim(preset: str, mode: str, precision: str, device: str) -> float | None:
    """Milliseconds a picture is to take on a device, None where nothing is aimed at.

    Args:
        preset: Of the bundle.
        mode: Of the pipeline.
        precision: Of its networks.
        device: A GPU's name.
    """
    meant = any(name in device for name in AIMED_AT)
    return AIMS.get((preset, mode, precision)) if meant else None
