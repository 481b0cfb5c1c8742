"""What `doctor` says of GPU, driver and TensorRT: what runs here, what does not and why, and what to do next."""

import importlib.metadata
from collections.abc import Iterator, Sequence

from mgts_trt.cli.finding import Finding
from mgts_trt.machine.gpus import Gpu, find_driver, find_gpus
from mgts_trt.machine.jetson import Jetson, find_jetson
from mgts_trt.plans.extras import CUDAS, INT8_ON_RTX, NEW_DRIVER, fitting_cuda, install_command, runs_cuda
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import broken_flavours, find_flavour, installed_flavours
from mgts_trt.plans.plan import PlanIdentity
from mgts_trt.plans.support import (
    FLAVOURS,
    FlavourName,
    flavours_for,
    runs_on,
    supports,
    target_text,
    title,
    why_unsupported,
)


def gpu_findings() -> Iterator[Finding]:
    """GPUs and driver, and whether the CUDA that is installed fits the driver."""
    gpus, jetson = find_gpus(), find_jetson()
    driver = _driver(gpus)
    for gpu in gpus:
        yield Finding("GPU", "ok", f"{gpu}, driver {gpu.driver or driver or 'of unknown version'}")
    if jetson is not None:
        yield from _jetson(jetson, gpus)
    elif not gpus and driver is None:
        yield Finding("GPU", "info", "no NVIDIA GPU, or no driver: bundles run on the CPU, and plans are not run here")
    elif not gpus:
        text = f"driver {driver} is there, but CUDA shows this process no GPU (CUDA_VISIBLE_DEVICES?)"
        yield Finding("GPU", "info", f"{text}: bundles run on the CPU")
    if driver is not None and jetson is None:
        yield from _driver_findings(driver, gpus)


def tensorrt_findings() -> Iterator[Finding]:
    """Which TensorRT is used, why not another, and how to get one that fits."""
    gpus, jetson = find_gpus(), find_jetson()
    gpu = gpus[0] if gpus else None
    driver = _driver(gpus)
    flavour = find_flavour(gpu=gpu)
    if flavour is not None:
        runs = "and runs plans on this GPU" if gpus else "but runs no plans: it finds no NVIDIA GPU"
        if gpus and driver and jetson is None and any(_driver_findings(driver, gpus)):
            runs = "and runs plans on this GPU once driver and CUDA fit each other"
        builds = ", ".join(map(target_text, flavour.targets))
        yield Finding("TensorRT", "ok", f"{flavour}, builds for {builds}, {runs}")
    for each in installed_flavours():
        if gpu is not None and each != flavour:
            yield _not_taken(each, gpu)
    broken = broken_flavours()
    for name, why in broken.items() if flavour is None else ():
        text = f"{title(name)} is installed, but does not load: {why}"
        yield Finding("TensorRT", "problem", text, install_command(name, driver, jetson))
    if flavour is None and not broken and (jetson is None or jetson.jetpack):
        yield _missing(gpu, driver, jetson)


def plan_fitness(name: str, identity: PlanIdentity, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Whether a whole plan runs here, and what to know before it is chosen."""
    target = identity.target
    if not gpus:
        yield Finding("plans", "ok", f"{name} is whole and up to date; it needs an NVIDIA GPU to run")
    elif runs_on(target, gpus[0].sm):
        yield Finding("plans", "ok", f"{name} is whole and runs on {gpus[0].name}")
    else:
        text = f"{name} is whole; it runs on {target_text(target)}, not on this GPU ({gpus[0].sm})"
        yield Finding("plans", "info", text)
    if identity.precision == "int8" and identity.flavour == "tensorrt_rtx":
        yield Finding("plans", "info", f"{name}: {INT8_ON_RTX}")


def _driver(gpus: Sequence[Gpu]) -> str | None:
    return next((gpu.driver for gpu in gpus if gpu.driver), None) or find_driver()


def _jetson(jetson: Jetson, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    if jetson.jetpack is None:
        text = f"{jetson}: TensorRT before 10 is not supported, so bundles run on the CPU; flash JetPack 6 or 7"
        yield Finding("GPU", "info", text)
        return
    yield Finding("GPU", "ok", f"{jetson}, which brings CUDA and TensorRT")
    if not gpus:
        text = "this Python does not reach CUDA: bundles run on the CPU until it does"
        yield Finding("GPU", "info", text, "pip install 'mgts-trt[jetson]'")


def _driver_findings(driver: str, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    oldest = CUDAS[-1]
    if fitting_cuda(driver) is None:
        text = f"driver {driver} is too old: CUDA {oldest.major} needs {_dotted(oldest.driver)} or newer"
        yield Finding("GPU", "problem", text, NEW_DRIVER)
        return
    try:
        major = int(importlib.metadata.version("cuda-bindings").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return
    if not runs_cuda(driver, major):
        needed = next(cuda.driver for cuda in CUDAS if cuda.major == major)
        text = f"cuda-bindings for CUDA {major} is installed; it needs driver {_dotted(needed)} or newer, not {driver}"
        names = flavours_for(gpus[0].sm) if gpus else FLAVOURS
        yield Finding("GPU", "problem", text, install_command((names or FLAVOURS)[0], driver))


def _not_taken(flavour: Flavour, gpu: Gpu) -> Finding:
    if supports(flavour.name, flavour.version, gpu.sm):
        return Finding("TensorRT", "info", f"{flavour} is installed too; --flavour {flavour.name} takes it")
    why = why_unsupported(flavour.name, flavour.version, gpu.sm)
    return Finding("TensorRT", "info", f"{flavour} is not for the {gpu.name}: {why}")


def _missing(gpu: Gpu | None, driver: str | None, jetson: Jetson | None) -> Finding:
    if jetson is not None:
        text = (
            "not found by this Python: make its environment with `python3 -m venv --system-site-packages`, "
            "so that it sees JetPack's"
        )
        return Finding(
            "TensorRT", "info", f"{text}, so that it sees JetPack's", install_command("tensorrt", None, jetson)
        )
    if gpu is None:
        text = "not installed: plans can be neither built nor run"
        return Finding("TensorRT", "info", text, install_command(FLAVOURS[0], driver))
    names: Sequence[FlavourName] = flavours_for(gpu.sm)
    if not names:
        return Finding("TensorRT", "info", f"none is known to support {gpu.sm}: ONNX Runtime runs bundles")
    text = f"{' and '.join(map(title, names))} would run plans on the {gpu.name}; until then ONNX Runtime runs bundles"
    return Finding("TensorRT", "info", text, install_command(names[0], driver))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
