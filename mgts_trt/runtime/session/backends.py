"""Which backend runs a bundle here, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import BACKENDS, Backend, LoweringChoice
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.machine.cpu import available_cores
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.runtime.cuda.device import GraphRefusal
from mgts_trt.runtime.session.base import LoadedPlan, Session
from mgts_trt.runtime.session.onnxruntime import CudaSession, OnnxRuntimeSession, why_no_cuda


@dataclass(frozen=True)
class Runtime:
    """What a pipeline runs on."""

    backend: str
    """`onnxruntime` (on the CPU), `onnxruntime-cuda` or `tensorrt`; of ready sessions passed to a pipeline, theirs."""
    device: str
    """For people: `CPU, 2 threads`."""
    reason: str
    """Why this backend, in one sentence."""
    engines: Mapping[str, LoadedPlan] = field(default_factory=dict, repr=False, compare=False)
    """The plans by model, loaded, where TensorRT runs them."""
    ops: LoweringChoice = "auto"
    """How plans that are yet to be loaded compute the networks' operators."""
    graph_refusals: Mapping[str, GraphRefusal] = field(default_factory=dict, repr=False, compare=False)
    """Work (`"mgts, 8 rows"`) → how often, and why, its run could not be captured in a CUDA graph; such a run is
    launched one kernel at a time, and its capture tried again now and then. It grows as pictures are searched."""

    def close(self) -> None:
        """Let go of the engines. Closing twice is harmless."""
        for engine in self.engines.values():
            engine.close()


def select_runtime(
    bundle: Bundle,
    models: tuple[str, ...],
    *,
    precision: str,
    backend: Backend,
    threads: int | None,
    ops: LoweringChoice = "auto",
    batch: int = 1,
) -> Runtime:
    """Decide what runs `models`.

    Args:
        bundle: An opened bundle.
        models: Names of the models wanted.
        precision: `fp32`, `fp16` or `int8`.
        backend: `auto` takes TensorRT where it can run, else ONNX Runtime: on a GPU by its CUDA provider, if there are
            both, or on the CPU.
        threads: CPU threads; all available ones by default.
        ops: How plans compute the networks' operators; see `mgts_trt.runtime.session.tensorrt.usable_plan`.
        batch: Pictures at once that plans should take; likewise.

    Raises:
        BackendError: `backend` is unknown, or needs a GPU and cannot run here; the message says why.
    """
    if backend not in BACKENDS:
        raise BackendError(f"There is no backend {backend!r}; the backends are {', '.join(BACKENDS)}.")
    if backend == "onnxruntime":
        return on_cpu("asked for", threads)
    if backend == "onnxruntime-cuda":
        gpus = find_gpus()
        if not gpus or (why_not := why_no_cuda()):
            raise BackendError(
                f"The backend {backend} cannot run here: {why_not if gpus else 'no NVIDIA GPU was found.'} "
                "Use --backend auto or onnxruntime."
            )
        return Runtime(backend, str(gpus[0]), "asked for")
    from mgts_trt.runtime.session.tensorrt import load_engines

    try:
        gpu, engines = load_engines(bundle, models, precision, ops, batch)
    except MgtsError as error:
        if backend == "tensorrt":
            raise BackendError(
                f"The backend tensorrt cannot run here: {error} Use --backend auto or onnxruntime."
            ) from error
        return without_tensorrt(str(error), threads)
    reason = "asked for" if backend == "tensorrt" else "there is a GPU, and the plans fit it"
    return Runtime("tensorrt", str(gpu), reason, engines, ops)


def without_tensorrt(reason: str, threads: int | None) -> Runtime:
    """ONNX Runtime on the GPU, where there are one and the CUDA provider; else on the CPU.

    Args:
        reason: Why TensorRT does not run, in a sentence.
        threads: CPU threads.
    """
    gpus = find_gpus()
    if not gpus:
        return on_cpu(reason, threads)
    why_not = why_no_cuda()
    return on_cpu(f"{reason} {why_not}", threads) if why_not else Runtime("onnxruntime-cuda", str(gpus[0]), reason)


def on_cpu(reason: str, threads: int | None) -> Runtime:
    """ONNX Runtime, on so many threads or all available cores."""
    return Runtime("onnxruntime", f"CPU, {threads or available_cores()} threads", reason)


def open_session(
    bundle: Bundle,
    model: str,
    runtime: Runtime,
    *,
    precision: str,
    threads: int | None,
    spinning: bool = False,
    batch: int = 1,
) -> Session:
    """Open one model on the backend that `select_runtime` chose.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        runtime: The backend.
        precision: One of the model's.
        threads: CPU threads.
        spinning: See `OnnxRuntimeSession`.
        batch: On ONNX Runtime, most pictures a run of the detector or mask net.

    Raises:
        MgtsError: See the backend's session.
    """
    if runtime.backend == "tensorrt":
        from mgts_trt.runtime.session.tensorrt import TensorRTSession

        engine = runtime.engines.get(model)
        # A plan of another precision than the runtime was chosen with is loaded by the session.
        fits = engine is not None and not engine.closed and engine.record.identity.precision == precision
        return TensorRTSession(bundle, model, precision, engine=engine if fits else None, ops=runtime.ops)
    kind = CudaSession if runtime.backend == "onnxruntime-cuda" else OnnxRuntimeSession
    return kind(bundle, model, precision, threads=threads, spinning=spinning, batch=batch)
