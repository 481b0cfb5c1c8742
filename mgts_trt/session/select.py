"""Which backend runs a bundle here, and why."""

from dataclasses import dataclass
from typing import Literal

from mgts_trt.bundle import Bundle
from mgts_trt.cpu import available_cores
from mgts_trt.errors import BackendError
from mgts_trt.session.base import Session
from mgts_trt.session.onnxruntime import OnnxRuntimeSession

Backend = Literal["auto", "onnxruntime", "tensorrt"]
BACKENDS: tuple[Backend, ...] = ("auto", "onnxruntime", "tensorrt")


@dataclass(frozen=True)
class Runtime:
    """What a pipeline runs on."""

    backend: str
    """`onnxruntime` or `tensorrt`; of ready sessions passed to a pipeline, theirs."""
    device: str
    """For people: `CPU, 2 threads`."""
    reason: str
    """Why this backend, in one sentence."""


def select_runtime(
    bundle: Bundle, models: tuple[str, ...], *, precision: str, backend: Backend, threads: int | None
) -> Runtime:
    """Decide what runs `models`.

    Args:
        bundle: An opened bundle.
        models: Names of the models wanted.
        precision: `fp32`, `fp16` or `int8`.
        backend: `auto` takes TensorRT where it can run, else ONNX Runtime on the CPU.
        threads: CPU threads; all available ones by default.

    Raises:
        BackendError: `backend` is unknown, or is `tensorrt` and cannot run here; the message says why.
    """
    if backend not in BACKENDS:
        raise BackendError(f"There is no backend {backend!r}; the backends are {', '.join(BACKENDS)}.")
    device = f"CPU, {threads or available_cores()} threads"
    if backend == "onnxruntime":
        return Runtime("onnxruntime", device, "asked for")
    from mgts_trt.session.tensorrt import why_not_tensorrt

    reason = why_not_tensorrt(bundle, models, precision)
    if backend == "tensorrt":
        raise BackendError(f"The backend tensorrt cannot run here: {reason} Use --backend auto or onnxruntime.")
    return Runtime("onnxruntime", device, reason)


def open_session(bundle: Bundle, model: str, runtime: Runtime, *, precision: str, threads: int | None) -> Session:
    """Open one model on the backend that `select_runtime` chose."""
    if runtime.backend == "tensorrt":
        from mgts_trt.session.tensorrt import TensorRTSession

        return TensorRTSession(bundle, model, precision)
    return OnnxRuntimeSession(bundle, model, precision, threads=threads)
