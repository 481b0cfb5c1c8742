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

LOWERINGS: tuple[Lowering, ...] = ("kernel", "plugin", "graph")
"""The fastest first, by what they leave for layers to do."""

RUNNABLE: tuple[Lowering, ...] = ("kernel", "graph")
"""Those that need no library, likewise."""


def choose_lowering(choice: LoweringChoice, flavour: Flavour) -> Lowering:
    """The lowering to build a plan in.

    Args:
        choice: What was asked for; `auto` is `kernel` with TensorRT-RTX and `graph` with TensorRT.
        flavour: Builds the plan.

    Raises:
        BuildError: There is no such lowering, or the flavour has none.
    """
    if choice == "auto":
        return "kernel" if flavour.name == "tensorrt_rtx" else "graph"
    if choice not in LOWERINGS:
        raise BuildError(f"There is no lowering {choice!r} of operators; it is auto, graph, kernel or plugin.")
    if choice == "plugin" and flavour.name == "tensorrt_rtx":
        raise BuildError(f"Plans of {flavour} hold no plugins. Build with --ops kernel or graph.")
    return choice


def require_plugins(flavour: Flavour) -> None:
    """Give the flavour's registry the plugins, before it parses a model whose operators have no bodies.

    Raises:
        BuildError: There is no library of them.
    """
    raise BuildError(
        f"There is no library of plugins for {flavour}. Build it with `mgts-trt plugins build`, or build plans with "
        "--ops kernel or graph, which need none."
    )
