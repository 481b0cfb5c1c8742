"""Part `operators`: each operator of the networks by its kernel, and by TensorRT alone, beside what it must cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts import ceilings
from benchmarks.gpu.parts.device_time import BATCH, TRIES, Kept, best, copier, launcher
from benchmarks.gpu.parts.operator_cases import OperatorCase, operator_cases
from benchmarks.gpu.parts.operator_costs import operator_cost, operator_work
from benchmarks.gpu.report import OperatorResult
from benchmarks.gpu.sides.engine import EngineRun
from benchmarks.gpu.sides.operator_engine import build_operator
from benchmarks.gpu.timing import words
from mgts_trt.choices import Lowering
from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import require_flavour
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.session.base import LoadedPlan
from mgts_trt.runtime.session.tensorrt import load_plan, runnable_targets

COPY = "copy"
"""Beside the lowerings: a copy that reads and writes as many bytes as the operator must."""

Open = Callable[[OperatorCase, Lowering, Path], LoadedPlan]
"""An operator as an engine of its own, built into a folder and loaded."""


def plan(job: Job) -> list[str]:
    """What would be measured."""
    if not job.on_gpu:
        return ["nothing: operators alone run on a GPU only"]
    return [
        f"every operator of {', '.join(job.models)}, {job.people} people: its kernel; engines of it alone, operators "
        f"as {', '.join(_in_engines(job))}; a copy of as many bytes: the best of {TRIES} × {BATCH}"
    ]


def run(job: Job) -> None:
    """Fill `report.operators`, and `report.ceilings` where they are not known yet.

    Raises:
        BackendError: There is no GPU.
    """
    if not job.on_gpu:
        raise BackendError("Operators alone run on a GPU only; the backend onnxruntime has none.")
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    if job.report.ceilings is None:
        with job.leave_out("floors of the operators"):
            job.report.ceilings = ceilings.measure(job)
    device = CudaDevice(0)
    gpus = find_gpus()
    lowerings: Sequence[Lowering] = ()
    opener: Open = _unopened
    with job.leave_out("operators as engines of their own"):
        flavour = require_flavour(gpus[0] if gpus else None)
        opener, lowerings = partial(_open, job, flavour, device), _in_engines(job)
    job.report.operators = measure(job, device, opener, lowerings)


def measure(job: Job, device: DeviceLayer, opener: Open, lowerings: Sequence[Lowering]) -> list[OperatorResult]:
    """Time every operator on a device; a form that fails is a result, too.

    Args:
        job: What to measure.
        device: Where.
        opener: Makes an operator an engine of its own.
        lowerings: In which it does.
    """
    stream = device.stream()
    kept = Kept(device, stream)
    results = []
    for case in operator_cases(job.bundle, job.people, kept.put):
        job.say(f"{case.kernel}, {case.work}")
        result = _result(job, case)
        forms: dict[str, Callable[[], float]] = {
            "kernel": partial(best, device, stream, launcher(device, stream, case.launches)),
            COPY: partial(best, device, stream, copier(device, stream, result.bytes)),
        }
        for lowering in lowerings:
            forms[lowering] = partial(_as_engine, device, opener, case, lowering)
        for form, measured in forms.items():
            try:
                result.microseconds[form] = measured()
            except Exception as error:  # of any library: it is a result, too
                result.errors[form] = words(error)
        results.append(result)
    stream.synchronize()
    return results


def _result(job: Job, case: OperatorCase) -> OperatorResult:
    sizes = {"N": job.people}
    cost = operator_cost(case.step, case.tensors, sizes)
    known = job.report.ceilings
    return OperatorResult(
        network=case.model,
        precision=case.precision,
        operator=case.step.operator,
        node=case.step.node,
        work=operator_work(case.step, case.tensors, sizes),
        read_kb=cost.read / 1e3,
        written_kb=cost.written / 1e3,
        mflop=cost.flop / 1e6,
        floor_us=cost.floor(known) if known else None,
    )


def _as_engine(device: DeviceLayer, opener: Open, case: OperatorCase, lowering: Lowering) -> float:
    with TemporaryDirectory(prefix="mgts-trt-operator-") as folder, _opened(opener, case, lowering, folder) as ready:
        return best(device, ready.stream, ready.queue)


@contextmanager
def _opened(opener: Open, case: OperatorCase, lowering: Lowering, folder: str) -> Iterator[EngineRun]:
    engine = opener(case, lowering, Path(folder))
    try:
        ready = EngineRun(engine, case.inputs)
        try:
            yield ready
        finally:
            ready.close()
    finally:
        engine.close()


def _open(
    job: Job, flavour: Flavour, device: DeviceLayer, case: OperatorCase, lowering: Lowering, folder: Path
) -> LoadedPlan:
    gpus = find_gpus()
    targets = runnable_targets(flavour, gpus)
    if not targets:
        raise BackendError(f"{flavour} has no plans for the GPU that is here.")
    built = build_operator(
        case.step, case.tensors, case.constants, lowering,
        bundle=job.bundle, model=case.model, flavour=flavour, target=targets[0], folder=folder,
    )  # fmt: skip
    return load_plan(built, flavour, device, gpus[0] if gpus else None)


def _unopened(case: OperatorCase, lowering: Lowering, folder: Path) -> LoadedPlan:
    raise BackendError("There is no TensorRT here.")


def _in_engines(job: Job) -> list[Lowering]:
    return [lowering for lowering in ("graph", "plugin") if lowering in job.lowerings]
