"""Part `networks`: every network alone, inputs and outputs on the device, against PyTorch and ONNX Runtime."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.gpu.job import Job
from benchmarks.gpu.report import Group
from benchmarks.gpu.timing import Call, in_turns
from benchmarks.inputs import network_inputs
from mgts_trt._typing import Array

TENSORRT, TENSORRT_GRAPH = "TensorRT", "TensorRT, CUDA graph"
ONNXRUNTIME = "ONNX Runtime, CPU"
ORT_CUDA = "ONNX Runtime, CUDA"


def torch_label(form: str, *, on_gpu: bool) -> str:
    """A PyTorch side's name in tables."""
    return f"PyTorch {form}, {'fp16' if on_gpu else 'fp32, CPU'}"


def plan(job: Job) -> list[str]:
    """What would be measured, one line a group."""
    sides = [TENSORRT, TENSORRT_GRAPH] if job.on_gpu else [ONNXRUNTIME]
    sides += [f"baseline {name}" for name in job.baselines]
    return [
        f"{model} in {precision}: {'; '.join(sides)}: {job.counts}"
        for model in job.models
        for precision in job.files(model)
    ]


def run(job: Job) -> None:
    """Fill `report.networks`."""
    inputs = network_inputs(job.bundle, job.image, job.people)
    for model in job.models:
        with ExitStack() as open_things:
            in_torch = torch_sides(job, model, partial(_torch_call, job, model, inputs[model]))
            for precision in job.files(model):
                job.say(f"{model} in {precision}")
                sides = {**_own_sides(job, model, precision, inputs[model], open_things), **in_torch}
                if "ort-cuda" in job.baselines:
                    with job.leave_out(f"{ORT_CUDA}, {model} in {precision}"):
                        sides[ORT_CUDA] = _ort_cuda(job, model, precision, inputs[model], open_things)
                samples = in_turns(sides, job.counts, on_turn=lambda label, model=model: job.say(f"{model}: {label}"))
                results = [each.result(label) for label, each in samples.items()]
                job.report.networks.append(Group(what=model, precision=precision, people=job.people, sides=results))


def _own_sides(
    job: Job, model: str, precision: str, inputs: Mapping[str, Array], open_things: ExitStack
) -> dict[str, Call]:
    if not job.on_gpu:
        from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession

        session = OnnxRuntimeSession(job.bundle, model, precision)
        open_things.callback(session.close)
        return {ONNXRUNTIME: _silent(lambda: session.run(inputs))}
    sides: dict[str, Call] = {}
    with job.leave_out(f"TensorRT, {model} in {precision}"):
        from benchmarks.gpu.sides.engine import EngineRun
        from mgts_trt.runtime.session.tensorrt import open_engine

        engine = open_engine(job.bundle, model, precision)
        open_things.callback(engine.close)
        # A context of its own each: one that was captured keeps its shapes and addresses.
        for label, start in ((TENSORRT, EngineRun.launch), (TENSORRT_GRAPH, EngineRun.replay)):
            ready = EngineRun(engine, inputs)
            open_things.callback(ready.close)
            sides[label] = _silent(lambda start=start, ready=ready: start(ready))
    return sides


def torch_sides(job: Job, what: str, make: Callable[[str, str], Call]) -> dict[str, Call]:
    """The forms of PyTorch that are asked for, but for those that cannot be made here.

    Args:
        job: What to measure.
        what: What they compute, for the note about one that is left out.
        make: From the form and the device's name to what is to be timed.
    """
    sides: dict[str, Call] = {}
    for form in job.baselines:
        if form == "ort-cuda":
            continue
        label = torch_label(form, on_gpu=job.on_gpu)
        with job.leave_out(f"{label}, {what}"):
            sides[label] = make(form, "cuda" if job.on_gpu else "cpu")
    return sides


def _torch_call(job: Job, model: str, inputs: Mapping[str, Array], form: str, device: str) -> Call:
    import torch

    from benchmarks.gpu.sides.torch_networks import TorchNetworks

    networks = TorchNetworks(job.torch_preset, [model], form, device)
    tensors = [torch.from_numpy(array).to(device) for array in inputs.values()]

    def call() -> None:
        networks.run(model, *tensors)
        if networks.device.type == "cuda":
            torch.cuda.synchronize()

    return call


def _ort_cuda(job: Job, model: str, precision: str, inputs: Mapping[str, Array], open_things: ExitStack) -> Call:
    from benchmarks.gpu.sides.ort_cuda import OrtCudaSession

    session = OrtCudaSession(job.bundle, model, precision)
    open_things.callback(session.close)
    return session.resident(inputs)


def _silent(run: Callable[[], object]) -> Call:
    """A call that says nothing of its stages."""

    def call() -> None:
        run()

    return call
