"""Which of the installed TensorRTs serves the GPU in hand."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import INSTALL, Flavour
from mgts_trt.plans.support import FLAVOURS, FlavourName, supports, title, why_unsupported

VARIABLE = "MGTS_TRT_FLAVOUR"
"""Environment variable that names the flavour to use, whatever the GPU; the commands' `--flavour` sets it."""


def find_flavour(prefer: FlavourName | None = None, gpu: Gpu | None = None) -> Flavour | None:
    """The installed TensorRT to use, or None.

    Where `MGTS_TRT_FLAVOUR` names one it is this or none: support for the GPU is then for TensorRT itself to judge.

    Args:
        prefer: Take this flavour if it is there; the other one otherwise.
        gpu: Must be supported by the flavour. None asks for no support: plans can be built for GPUs that are elsewhere.

    Raises:
        BackendError: `MGTS_TRT_FLAVOUR` names no flavour.
    """
    asked = asked_flavour()
    order = (asked,) if asked else FLAVOURS
    if prefer in order:
        order = (prefer, *(name for name in order if name != prefer))
    installed = (flavour for name in order if (flavour := _installed(name)) is not None)
    if gpu is None or asked:
        return next(installed, None)
    return next((flavour for flavour in installed if supports(flavour.name, flavour.version, gpu.sm)), None)


def require_flavour(gpu: Gpu | None = None) -> Flavour:
    """Like `find_flavour`, for what cannot go on without.

    Raises:
        BackendError: No TensorRT is installed, it does not load, or none supports the GPU.
    """
    flavour = find_flavour(gpu=gpu)
    if flavour is None:
        raise BackendError(f"{why_no_flavour(gpu)} Install it with `{INSTALL}`.")
    return flavour


def flavour_to_build(targets: Sequence[str] | None, gpus: Sequence[Gpu]) -> Flavour:
    """The installed TensorRT that builds for these targets: the one that runs plans here, if it can.

    Args:
        targets: As a user names them; None means the flavour's default.
        gpus: Of this machine.

    Raises:
        BackendError: No TensorRT is installed, or it does not load.
    """
    here = find_flavour(gpu=gpus[0]) if gpus else None
    candidates = [each for each in (here, find_flavour(), *([] if asked_flavour() else installed_flavours())) if each]
    own = {gpu.sm for gpu in gpus[:1]}
    fitting = (each for each in candidates if set(targets or ()) <= {*each.targets, *own})
    return next(fitting, candidates[0]) if candidates else require_flavour()


def why_no_flavour(gpu: Gpu | None = None) -> str:
    """Why `find_flavour` has none, in a sentence or two."""
    broken, asked = broken_flavours(), asked_flavour()
    if asked and asked not in broken:
        return f"{title(asked)} is asked for ({VARIABLE}, --flavour), and is not installed."
    told = [f"{title(name)} is installed, but does not load: {why}." for name, why in broken.items()]
    if gpu is not None and not asked:
        told += [
            f"{each} is installed, but does not support the {gpu.name}: "
            f"{why_unsupported(each.name, each.version, gpu.sm)}."
            for each in installed_flavours()
        ]
    return " ".join(told) or "TensorRT is not installed."


def asked_flavour() -> FlavourName | None:
    """The flavour that `MGTS_TRT_FLAVOUR` names, or None where it is unset, empty or `auto`.

    Raises:
        BackendError: It names no flavour.
    """
    named = os.environ.get(VARIABLE, "")
    if named in ("", "auto"):
        return None
    for name in FLAVOURS:
        if named == name:
            return name
    raise BackendError(f"There is no flavour {named!r} ({VARIABLE}, --flavour); there are auto, {', '.join(FLAVOURS)}.")


def installed_flavours() -> list[Flavour]:
    """The flavours that are installed and load."""
    return [flavour for name in FLAVOURS if (flavour := _installed(name)) is not None]


def broken_flavours() -> dict[FlavourName, str]:
    """Flavours that are installed and do not load, and why."""
    loaded = {name: _load(name) for name in FLAVOURS if importlib.util.find_spec(name)}
    return {name: module for name, module in loaded.items() if isinstance(module, str)}


def _installed(name: FlavourName) -> Flavour | None:
    module = _load(name)
    return None if isinstance(module, str) else Flavour(name, module.__version__, module)


@cache
def _load(name: FlavourName) -> Any:
    """The package, or the reason why it cannot be had."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return str(error) or type(error).__name__
    return module if hasattr(module, "__version__") else f"{name} is not the TensorRT package"
