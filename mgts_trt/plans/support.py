"""Which TensorRT supports which GPU. What chooses a flavour, what `doctor` says and the documents' table read it here.

Sources: the support matrices of TensorRT (10.0 to 11.4) and TensorRT-RTX (1.0 to 1.7), of which the matrices count, not
what a library happens to hold code for; JetPack's release notes for Orin and Thor.
"""

from typing import Literal, NamedTuple

FlavourName = Literal["tensorrt", "tensorrt_rtx"]
FLAVOURS: tuple[FlavourName, ...] = ("tensorrt_rtx", "tensorrt")
"""In the order they are looked for: TensorRT-RTX first, because it builds on every machine."""

PORTABLE = "portable"
CURRENT = "current"

TITLES: dict[FlavourName, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}

Version = tuple[int, int]


class GpuKind(NamedTuple):
    """GPUs of one compute capability.

    Attributes:
        sm: As compilers write it: `sm_86`.
        family: The architecture's name.
        examples: GPUs that have it.
        since: Flavours that support it, each with the first version that does.
    """

    sm: str
    family: str
    examples: str
    since: dict[FlavourName, Version]


GPU_KINDS: tuple[GpuKind, ...] = (
    GpuKind("sm_75", "Turing", "T4, RTX 20", {"tensorrt_rtx": (1, 0), "tensorrt": (10, 0)}),
    GpuKind("sm_80", "Ampere", "A100, A30", {"tensorrt": (10, 0)}),
    GpuKind("sm_86", "Ampere", "A10, RTX 30, RTX A4000", {"tensorrt_rtx": (1, 0), "tensorrt": (10, 0)}),
    GpuKind("sm_87", "Ampere", "Jetson Orin", {"tensorrt": (10, 0)}),
    GpuKind("sm_89", "Ada", "L4, L40, RTX 40", {"tensorrt_rtx": (1, 0), "tensorrt": (10, 0)}),
    GpuKind("sm_90", "Hopper", "H100, H200", {"tensorrt": (10, 0)}),
    GpuKind("sm_100", "Blackwell", "B200, GB200", {"tensorrt": (10, 8)}),
    GpuKind("sm_103", "Blackwell", "B300, GB300", {"tensorrt": (10, 13)}),
    GpuKind("sm_110", "Blackwell", "Jetson Thor", {"tensorrt": (10, 13)}),
    GpuKind("sm_120", "Blackwell", "RTX 50, RTX PRO 6000", {"tensorrt_rtx": (1, 0), "tensorrt": (10, 8)}),
    GpuKind("sm_121", "Blackwell", "GB10 (DGX Spark)", {"tensorrt_rtx": (1, 5), "tensorrt": (10, 13)}),
)

PORTABLE_ON: tuple[str, ...] = ("sm_86", "sm_89", "sm_120")
"""What TensorRT-RTX's portable plans run on; sm_75 and sm_121 need plans of their own."""


def title(name: str) -> str:
    """The product's name for a flavour's: `"TensorRT-RTX"`."""
    return next((title for known, title in TITLES.items() if known == name), name)


def supports(name: FlavourName, version: str, sm: str) -> bool:
    """Whether a flavour, in this version, supports GPUs of this compute capability (`"sm_86"`)."""
    first = _first_version(name, sm)
    return first is not None and _numbers(version) >= first


def why_unsupported(name: FlavourName, version: str, sm: str) -> str:
    """The reason, as a clause: `"it runs on sm_75, …, not on sm_90"`; empty if it is supported."""
    if supports(name, version, sm):
        return ""
    first = _first_version(name, sm)
    if first is not None:
        return f"it runs on {sm} from version {first[0]}.{first[1]} on"
    return f"it runs on {', '.join(supported_by(name))}, not on {sm}"


def supported_by(name: FlavourName) -> list[str]:
    """Compute capabilities a flavour's newest versions support."""
    return [kind.sm for kind in GPU_KINDS if name in kind.since]


def flavours_for(sm: str) -> list[FlavourName]:
    """Flavours whose newest versions support a compute capability, the one to be taken first."""
    return [name for name in FLAVOURS if _first_version(name, sm) is not None]


def runs_on(target: str, sm: str) -> bool:
    """Whether a plan built for `target` runs on a GPU of compute capability `sm` (`"sm_86"`)."""
    return sm in PORTABLE_ON if target == PORTABLE else target == sm


def target_text(target: str) -> str:
    """A target and what its plans run on: `"portable (sm_86, sm_89, sm_120)"`, `"sm_75"`."""
    return f"{target} ({', '.join(PORTABLE_ON)})" if target == PORTABLE else target


def _first_version(name: FlavourName, sm: str) -> Version | None:
    return next((kind.since.get(name) for kind in GPU_KINDS if kind.sm == sm), None)


def _numbers(version: str) -> Version:
    """Major and minor of `"10.13.3.9.post1"`; what is no number counts as 0."""
    major, minor = (int(part) if part.isdecimal() else 0 for part in (*version.split("."), "0")[:2])
    return major, minor
