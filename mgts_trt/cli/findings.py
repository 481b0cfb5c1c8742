"""What this machine and a bundle are fit for, and the one command that mends each problem."""

import importlib
import platform
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.default import WHEEL, default_bundle
from mgts_trt.choices import MODES
from mgts_trt.cli.finding import Finding
from mgts_trt.cli.gpu_findings import gpu_findings, plan_fitness, tensorrt_findings
from mgts_trt.errors import BackendError, BundleError, MgtsError, PlanError
from mgts_trt.evaluation.likeness import Likeness
from mgts_trt.machine.cache import VARIABLE, cache_root
from mgts_trt.machine.cpu import available_cores, cpu_name
from mgts_trt.machine.gpus import Gpu, find_gpus
from mgts_trt.machine.installation import checkout, checkout_command, reinstall_command
from mgts_trt.plans.build_commands import build_command
from mgts_trt.plans.flavour import INSTALL, Flavour
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.plan import PlanIdentity, PlanRecord, plan_folders, verify_plan
from mgts_trt.plans.support import title
from mgts_trt.runtime.modes import MODELS_OF_MODE, default_mode, held_modes
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.backends import select_runtime
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.version import __version__


def examine(bundle_path: Path | None = None) -> list[Finding]:
    """Look at the machine, the installation, the bundle named or else the default one, and its plans. Never raises.

    A machine without a GPU has no problem: bundles run on its CPU.
    """
    return [
        *_guarded("system", _system),
        *_guarded("GPU", gpu_findings),
        *_guarded("TensorRT", tensorrt_findings),
        *_guarded("video", _video),
        *_guarded("cache", _cache),
        *_guarded("ONNX Runtime", _onnxruntime),
        *_guarded("OpenCV", _opencv),
        *_guarded("simplejpeg", _simplejpeg),
        *_guarded("bundle", lambda: _bundle(bundle_path)),
    ]


def _guarded(area: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What `look` finds; a failure of the look itself is a finding too."""
    findings: list[Finding] = []
    try:
        findings.extend(look())
    except Exception as error:
        text = f"could not be examined: {type(error).__name__}: {error}"
        findings.append(Finding(area, "problem", text, reinstall_command()))
    return findings


def _system() -> Iterator[Finding]:
    yield Finding("system", "ok", f"{platform.platform()}, Python {platform.python_version()}, mgts-trt {__version__}")
    yield Finding("CPU", "ok", f"{cpu_name()}, {available_cores()} cores available")


def _cache() -> Iterator[Finding]:
    root = cache_root()
    if root is None:
        yield Finding("cache", "info", f"off: TensorRT and the kernels start more slowly ({VARIABLE})")
        return
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    yield Finding(
        "cache", "ok", f"{root} ({size / 2**20:.0f} MiB), for what is compiled for a GPU; {VARIABLE} moves it"
    )


def _onnxruntime() -> Iterator[Finding]:
    def about(runtime: Any) -> str:
        return f"{runtime.__version__}, {', '.join(runtime.get_available_providers())}"

    return _package("ONNX Runtime", lambda: importlib.import_module("onnxruntime"), "onnxruntime", about)


def _opencv() -> Iterator[Finding]:
    return _package("OpenCV", lambda: importlib.import_module("cv2"), "opencv-python-headless")


def _simplejpeg() -> Iterator[Finding]:
    return _package("simplejpeg", lambda: importlib.import_module("simplejpeg"), "simplejpeg")


def _video() -> Iterator[Finding]:
    """What decodes videos and live streams, where there is a choice."""
    if not find_gpus():
        return
    from mgts_trt.gallery.indexing.nvdec import load_nvdec

    try:
        yield Finding("video", "ok", f"decoded on the GPU, by PyNvVideoCodec {load_nvdec().__version__}")
    except BackendError as error:
        yield Finding("video", "info", f"decoded on the CPU: {error}")


def _package(
    area: str,
    load: Callable[[], Any],
    package: str,
    about: Callable[[Any], str] = lambda module: str(module.__version__),
) -> Iterator[Finding]:
    try:
        module = load()
    except ImportError as error:
        yield Finding(area, "problem", f"does not load: {error}", f"pip install {package}")
        return
    yield Finding(area, "ok", about(module))


def _bundle(named: Path | None) -> Iterator[Finding]:
    try:
        path = named or default_bundle()
    except BundleError as error:
        cure = "python -m export --out bundle" if checkout() else f"pip install {WHEEL}"
        yield Finding("bundle", "problem", str(error), cure)
        return
    try:
        bundle = Bundle.open(path)
    except BundleError as error:
        cure = checkout_command(f"python -m export --out {path}")
        if isinstance(error.__cause__, PermissionError):
            cure = f"chmod -R u+rX {path}"
        yield Finding("bundle", "problem", str(error), cure)
        return
    manifest = bundle.manifest
    faults = [*_models_that_fail(bundle)]
    yield from faults
    if not faults:
        models = ", ".join(f"{name} ({', '.join(model.files)})" for name, model in manifest.models.items())
        yield Finding("bundle", "ok", f"{path} is whole, and its models run: preset {manifest.preset}, {models}")
    if not manifest.training.trained:
        yield Finding("bundle", "info", "its weights are untrained: what it finds has no meaning")
    elif not any(Likeness.of(bundle, mode) for mode in MODES):
        yield Finding("bundle", "info", "it is not calibrated: no false-match rate of a cosine is known")
    yield from _plans(bundle)
    held = held_modes(manifest)
    models_run = MODELS_OF_MODE[default_mode(bundle)] if held else tuple(manifest.models)
    with closing(select_runtime(bundle, models_run, precision="fp32", backend="auto", threads=None)) as runtime:
        text = f"--backend auto runs {runtime.backend} on {runtime.device}: {runtime.reason.rstrip('.')}"
        yield Finding("backend", "ok", text)
    if held and runtime.backend == "tensorrt":
        yield from _memory(bundle)


def _memory(bundle: Bundle) -> Iterator[Finding]:
    """How much of the GPU's memory the pipeline takes, and how it takes less."""
    try:
        with PersonSearch(bundle, backend="tensorrt") as search:
            yield Finding("memory", "ok", f"{search.memory_plan}; max_people and pictures_in_flight make it less")
    except BackendError as error:
        yield Finding("memory", "problem", str(error), f"mgts-trt bench --mode box {bundle.root}")


def _models_that_fail(bundle: Bundle) -> Iterator[Finding]:
    """Run each model once, on a black picture: a file can be the one its manifest names, and still no such network."""
    for model, entry in bundle.manifest.models.items():
        for precision in entry.files:
            try:
                session = OnnxRuntimeSession(bundle, model, precision)
                inputs = {name: spec.zeros(1) for name, spec in session.inputs.items()}
                outputs = session.run(inputs)
                session.close()
            except MgtsError as error:
                yield Finding(
                    "bundle", "problem", str(error), checkout_command(f"python -m export --out {bundle.root}")
                )
                continue
            if infinite := [name for name, array in outputs.items() if not np.isfinite(array).all()]:
                text = f"{bundle.model_path(model, precision)} gives {', '.join(infinite)} that is not finite"
                yield Finding("bundle", "problem", text, checkout_command(f"python -m export --out {bundle.root}"))


def _plans(bundle: Bundle) -> Iterator[Finding]:
    try:
        folders = plan_folders(bundle)
    except PlanError as error:
        yield Finding("plans", "problem", str(error), f"chmod -R u+rX {bundle.plans}")
        return
    if not folders:
        yield Finding("plans", "info", "none built", build_command(bundle.root))
        return
    gpus = find_gpus()
    flavour = find_flavour(gpu=gpus[0] if gpus else None)
    for folder in folders:
        yield from _guarded("plans", lambda folder=folder: _plan(bundle, folder, flavour, gpus))  # type: ignore[misc]


def _plan(bundle: Bundle, folder: Path, flavour: Flavour | None, gpus: list[Gpu]) -> Iterator[Finding]:
    cure = build_command(bundle.root)
    try:
        mine = PlanRecord.read(folder).identity
        if flavour is None:
            verify_plan(folder)
            yield Finding("plans", "info", f"{folder.name} is whole; {title(mine.flavour)} is not installed", INSTALL)
            return
        if mine.model not in bundle.manifest.models or mine.precision not in bundle.model(mine.model).files:
            text = f"{folder.name} is of {mine.model} in {mine.precision}, which the bundle does not hold"
            yield Finding("plans", "info", text, f"rm -r {folder}")
            return
        expected = PlanIdentity.of(bundle, mine.model, mine.precision, mine.target, flavour, mine.lowering, mine.batch)
        superseded = mine != expected and (bundle.plans / expected.folder).is_dir()
        if superseded:
            text = f"{folder.name} is superseded by {expected.folder}: {'; '.join(mine.differences(expected))}"
            yield Finding("plans", "info", text, f"rm -r {folder}")
            return
        verify_plan(folder, expected)
    except PlanError as error:
        yield Finding("plans", "problem", str(error), cure)
        return
    yield from plan_fitness(folder.name, mine, gpus)
