"""A report in which every part has something to show."""

from benchmarks.environment import Environment
from benchmarks.gpu.parts import soak
from benchmarks.gpu.report import (
    Ceilings,
    Group,
    KernelResult,
    Latency,
    MemorySample,
    OperatorResult,
    ParityResult,
    PlanTrial,
    Report,
    RooflineRow,
    SideResult,
)

WORDS = "Error Code 6: API Usage Error (Target GPU SM 90 is not supported | by this TensorRT release.)"


def make_report(**changes: object) -> Report:
    """Two sides, ours twice as fast as PyTorch; one that failed."""
    fast, slow = Latency.of([4.0, 5.0, 6.0]), Latency.of([9.0, 10.0, 11.0])
    sides = [
        SideResult(
            label="TensorRT, CUDA graphs",
            latency=fast,
            stages={"detector": fast},
            images_per_second={1: 190, 2: 260},
            at_once={1: fast, 4: Latency.of([2.5])},
            lowering="kernel",
            graphs=True,
            over_graph=1.6,
        ),
        SideResult(label="TensorRT, graph", latency=Latency.of([8.0]), lowering="graph", graphs=True, over_graph=1.0),
        SideResult(label="PyTorch eager, fp16", latency=slow, notes=["a note"]),
        SideResult(label="PyTorch compiled, fp16", error="BackendCompilerFailed: no | triton"),
    ]
    groups = [Group(what="net", precision="fp16", people=8, sides=sides)]
    memory = [MemorySample(images=i, device_mib=900.0, host_mib=400.0) for i in range(0, 101, 10)]
    values: dict[str, object] = {
        "environment": Environment(
            date="2030-01-01T00:00:00+00:00", commit="0123456789abcdef+", gpu="A GPU", sm="sm_90", gpu_memory_mib=1,
            driver="600.1", cuda="13.1", clocks_mhz={"sm": 1980}, cpu="a CPU", cores=2, python="3.11", platform="linux",
            versions={"torch": "2.11"},
        ),
        "bundle": "bundle", "preset": "paper", "trained": False, "canvas": (900, 1500), "image": "p.jpg",
        "image_hw": (600, 1116), "people": 8, "backend": "tensorrt", "device": "A GPU (sm_90)", "quick": False,
        "left_out": {"kernels": "no NVRTC"},
        "plans": [
            PlanTrial(model="mgts", precision="fp16", target="portable", lowering="graph", flavour="TensorRT-RTX 1.7",
                      reached="built", message=WORDS, log=[f"[error] {WORDS}"]),
        ],
        "pipeline": groups,
        "networks": groups,
        "ceilings": Ceilings(tflops={"fp16": 700.0}, copy_gbs=2500.0, how="cuBLAS"),
        "roofline": [
            RooflineRow(model="mgts", precision="fp16", side="TensorRT", gflop=10, model_mb=50, layers_mb=400,
                        floor_ms=0.5, unfused_ms=1.0, bound="memory", measured_ms=2.0),
        ],
        "kernels": [
            KernelResult(kernel="letterbox", work="x", kilobytes=4000, microseconds=4, copy_microseconds=3),
            KernelResult(kernel="se_head", work="y", kilobytes=1, microseconds=0, copy_microseconds=0, error="no"),
        ],
        "operators": [
            OperatorResult(network="detector", precision="fp16", operator="Nms", node="/nms", work="boxes → keep",
                           read_kb=32, written_kb=8, mflop=24, floor_us=0.5,
                           microseconds={"kernel": 5.0, "copy": 2.5, "graph": 200.0},
                           errors={"plugin": "no | library"}),
        ],
        "soak": [soak.judge([5.0] * 100, memory, mode="net", precision="fp16", seconds=0.5)],
        "parity": [
            ParityResult(mode="net", precision="fp16", reference="the CPU", pictures=3, people=20, boxes_share=1.0,
                         worst_iou=0.995, cosine_share=0.9, worst_cosine=0.99, required=0.95, passed=False),
        ],
    }  # fmt: skip
    return Report(**{**values, **changes})
