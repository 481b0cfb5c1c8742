"""Part `kernels`: each of our kernels between the networks, again and again, beside a copy of as many bytes."""

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.device_time import BATCH, TRIES, Kept, best, copier, launcher
from benchmarks.gpu.parts.kernel_cases import Cases
from benchmarks.gpu.report import KernelResult
from benchmarks.gpu.timing import words
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.runtime.cuda.device import DeviceLayer


def plan(job: Job) -> list[str]:
    """What would be measured."""
    if not job.on_gpu:
        return ["nothing: kernels run on a GPU only"]
    names = "letterbox, select_people, paint_instances, separate_people, person_patches"
    return [f"{names}, {job.people} people: the best of {TRIES} × {BATCH} launches, and of copies of as many bytes"]


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
    kept = Kept(device, stream)
    results = []
    for case in Cases(job.bundle, job.image, job.people, kept.put):
        job.say(f"{case.kernel}, {case.work}")
        result = KernelResult(
            kernel=case.kernel, work=case.work, kilobytes=case.bytes / 1e3, microseconds=0, copy_microseconds=0
        )
        try:
            result.microseconds = best(device, stream, launcher(device, stream, case.launches))
            result.copy_microseconds = best(device, stream, copier(device, stream, case.bytes))
        except MgtsError as error:
            result.error = words(error)
        results.append(result)
    stream.synchronize()
    return results
