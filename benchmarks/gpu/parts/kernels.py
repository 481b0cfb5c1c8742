"""Part `kernels`: each of our kernels alone, again and again, beside a copy that moves as many bytes."""

from collections.abc import Callable
from itertools import chain

import numpy as np

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.kernel_cases import Case, Cases
from benchmarks.gpu.parts.operator_cases import operator_cases
from benchmarks.gpu.report import KernelResult
from benchmarks.gpu.timing import words
from mgts_trt._typing import Array
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.cuda.streams import Stream

_TRIES, _BATCH = 5, 50


def plan(job: Job) -> list[str]:
    """What would be measured."""
    if not job.on_gpu:
        return ["nothing: kernels run on a GPU only"]
    names = "letterbox, select_people, paint_instances, separate_people, person_patches, the operators"
    return [f"{names}, {job.people} people: the best of {_TRIES} × {_BATCH} launches, and of copies of as many bytes"]


def run(job: Job) -> None:
    """Fill `report.kernels`.

    Raises:
        BackendError: There is no GPU.
    """
    if not job.on_gpu:
        raise BackendError("Kernels run on a GPU only; the backend onnxruntime has none.")
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    job.report.kernels = measure(job, CudaDevice(0))


def measure(job: Job, device: DeviceLayer) -> list[KernelResult]:
    """Time every case on a device; a kernel that fails is a result, too."""
    stream = device.stream()
    kept = []

    def put(array: Array) -> Pointer:
        there = device.array(array.shape, array.dtype, stream)
        device.copy(there, np.ascontiguousarray(array), stream)
        kept.append(there)
        return Pointer(there.pointer)

    results = []
    cases = chain(Cases(job.bundle, job.image, job.people, put), operator_cases(job.bundle, job.people, put))
    for case in cases:
        job.say(f"{case.kernel}, {case.work}")
        result = KernelResult(
            kernel=case.kernel, work=case.work, kilobytes=case.bytes / 1e3, microseconds=0, copy_microseconds=0
        )
        try:
            result.microseconds = _best(device, stream, _launcher(device, stream, case))
            result.copy_microseconds = _best(device, stream, _copier(device, stream, case.bytes))
        except MgtsError as error:
            result.error = words(error)
        results.append(result)
    stream.synchronize()
    return results


def _launcher(device: DeviceLayer, stream: Stream, case: Case) -> Callable[[], None]:
    def run() -> None:
        for launch in case.launches:
            device.launch(launch, stream)

    return run


def _copier(device: DeviceLayer, stream: Stream, moved: int) -> Callable[[], None]:
    """A copy that reads and writes `moved` bytes together."""
    size = max(1, moved // 2)
    source, target = (device.array((size,), np.uint8, stream) for _ in range(2))
    device.fill(source, 0, stream)
    return lambda: device.copy(target, source, stream)


def _best(device: DeviceLayer, stream: Stream, run: Callable[[], None]) -> float:
    """Microseconds of one run. Captured as a graph of many, so that what the host takes to launch is not measured."""
    run()
    with device.capture(stream) as capture:
        for _ in range(_BATCH):
            run()
    graph = capture.graph
    best = float("inf")
    for _ in range(_TRIES + 1):
        start, end = device.event(timed=True), device.event(timed=True)
        stream.record(start)
        graph.launch(stream)
        stream.record(end)
        end.synchronize()
        best = min(best, end.elapsed_ms(start) * 1e3 / _BATCH)
    graph.close()
    return best
