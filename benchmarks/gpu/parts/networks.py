"""Part `networks`: every network alone, inputs and outputs on the device, against PyTorch and ONNX Runtime."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.forms import Form, compare_lowerings, forms
from benchmarks.gpu.report import Group
from benchmarks.gpu.timing import Call, in_turns
from benchmarks.inputs import network_inputs
from mgts_trt._typing import Array
from mgts_trt.bundle.onnx_domains import calls_operators
from mgts_trt.choices import Lowering
from mgts_trt.runtime.session.base import LoadedPlan

ONNXRUNTIME = "ONNX Runtime, CPU"
ORT_CUDA = "ONNX Runtime, CUDA"


def torch_label(form: str, *, on_gpu: bool) -> str:
    """A PyTorch side's name in tables."""
    return f"PyTorch {form}, {'fp16' if on_gpu else 'fp32, CPU'}"


def plan(job: Job) -> list[str]:
    """What would be measured, one line a group."""
    baselines = [f"baseline {name}" for name in job.baselines]
    return [
        f"{model} in {precision}: {'; '.join([*_own_labels(job, model, precision), *baselines])}: {job.counts}"
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
                ours = {str(form): form for form in _forms(job, model, precision)} if job.on_gpu else {}
                compare_lowerings(results, samples, ours, job.counts.repeats)
                job.report.networks.append(Group(what=model, precision=precision, people=job.people, sides=results))


def _forms(job: Job, model: str, precision: str) -> list[Form]:
    return forms(job, operators=calls_operators(job.bundle.model_path(model, precision)))


def _own_labels(job: Job, model: str, precision: str) -> list[str]:
    return [str(form) for form in _forms(job, model, precision)] if job.on_gpu else [ONNXRUNTIME]


def _own_sides(
    job: Job, model: str, precision: str, inputs: Mapping[str, Array], open_things: ExitStack
) -> dict[str, Call]:
    if not job.on_gpu:
        from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession

        session = OnnxRuntimeSession(job.bundle, model, precision)
        open_things.callback(session.close)
        return {ONNXRUNTIME: _silent(lambda: session.run(inputs))}
    sides: dict[str, Call] = {}
    engines: dict[Lowering, LoadedPlan] = {}
    for form in _forms(job, model, precision):
        with job.leave_out(f"{form}, {model} in {precision}"):
            from benchmarks.gpu.sides.engine import EngineRun
            from mgts_trt.runtime.session.tensorrt import open_engine

            if form.lowering not in engines:
                engines[form.lowering] = open_engine(job.bundle, model, precision, ops=form.lowering)
                open_things.callback(engines[form.lowering].close)
            # A context of its own each: one that was captured keeps its shapes and addresses.
            ready = EngineRun(engines[form.lowering], inputs)
            open_things.callback(ready.close)
            sides[str(form)] = _silent(ready.replay if form.graphs else ready.launch)
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
