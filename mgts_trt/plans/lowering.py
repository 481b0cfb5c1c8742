"""How a plan computes the operators of the domain `mgts`, where nothing else is asked for.

| lowering | operators | with |
| --- | --- | --- |
| `graph` | layers of the network, from the functions' bodies | both flavours |
| `kernel` | CUDA kernels between engines: the network is cut at them | both flavours |
| `plugin` | plugins inside the one engine, which other programs can then run | TensorRT and the library of plugins |
"""

from mgts_trt.choices import Lowering, LoweringChoice
from mgts_trt.errors import BuildError
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plugin_library import PluginLibrary, find_library, load_library, major_version

LOWERINGS: tuple[Lowering, ...] = ("kernel", "plugin", "graph")
"""The fastest first, by what they leave for layers to do."""

RUNNABLE: tuple[Lowering, ...] = ("kernel", "graph")
"""Those that need no library, likewise."""


def choose_lowering(choice: LoweringChoice, flavour: Flavour) -> Lowering:
    """The lowering to build a plan in.

    Args:
        choice: What was asked for; `auto` is `kernel` with TensorRT-RTX, and with TensorRT `plugin` where there is a
            library of plugins for it, else `graph`.
        flavour: Builds the plan.

    Raises:
        BackendError: `MGTS_TRT_PLUGINS` names no library for this flavour.
        BuildError: There is no such lowering, or the flavour has none.
    """
    if choice == "auto":
        if flavour.name == "tensorrt_rtx":
            return "kernel"
        return "plugin" if plugins_of(flavour) else "graph"
    if choice not in LOWERINGS:
        raise BuildError(f"There is no lowering {choice!r} of operators; it is auto, graph, kernel or plugin.")
    if choice == "plugin" and flavour.name == "tensorrt_rtx":
        raise BuildError(f"Plans of {flavour} hold no plugins. Build with --ops kernel or graph.")
    return choice


def plugins_of(flavour: Flavour) -> PluginLibrary | None:
    """The library of plugins for a flavour's plans, where there is one and they hold any.

    Raises:
        BackendError: `MGTS_TRT_PLUGINS` names no library for this flavour.
    """
    return None if flavour.name == "tensorrt_rtx" else find_library(major_version(flavour))


def measurable(flavour: Flavour | None) -> tuple[Lowering, ...]:
    """Those that plans of a flavour can be built and run in on this machine, in the order of `LOWERINGS`.

    Raises:
        BackendError: See `plugins_of`.
    """
    return LOWERINGS if flavour and plugins_of(flavour) else RUNNABLE


def require_plugins(flavour: Flavour) -> None:
    """Give the flavour's registry the plugins, before it parses operators without bodies or loads a plan.

    Raises:
        BackendError: There is no library of them, or TensorRT refuses it.
        BuildError: The flavour's plans hold none.
    """
    choose_lowering("plugin", flavour)
    load_library(flavour)
