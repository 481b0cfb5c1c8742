"""MGTS's head beside its engine: which of its forms a plan is built in, and the weights of one that was left out.

A plan holds the whole network (`graph`), or ends at the two feature maps and leaves the head to one CUDA kernel
(`fused`, `mgts_trt.runtime.gpu.kernels.FusedHead`), which runs behind it on the same stream. Both kinds lie side by
side in a bundle; beside one of the second lies `head.npz` with the arrays of `HeadWeights`, float32, [outputs, inputs].
"""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from mgts_trt.choices import HeadChoice, HeadForm
from mgts_trt.errors import BuildError, PlanError
from mgts_trt.stages.head import HeadWeights

AUTO: HeadForm = "graph"
"""What `auto` builds: the form that was measured faster on a GPU. Neither has been measured yet, and until then it is
the one that every TensorRT runs without help."""

FEATURES = ("foreground_features", "original_features")
"""Outputs of a plan that leaves the head out: the last feature maps of F-Net and O-Net [N, C, h, w]."""

HEAD_FILE = "head.npz"

_HEADED = ("mgts",)
"""The models that have such a head."""

_MATRICES = ("squeeze", "excite", "fc")


def choose_head(model: str, choice: HeadChoice) -> HeadForm:
    """The form of head to build or run a model with; `graph` for a model without such a head, whatever is asked for.

    Args:
        model: Name in the bundle.
        choice: What was asked for.

    Raises:
        BuildError: There is no such form.
    """
    if choice not in ("auto", "graph", "fused"):
        raise BuildError(f"There is no head {choice!r}; it is auto, graph or fused.")
    if model not in _HEADED:
        return "graph"
    return AUTO if choice == "auto" else choice


def save_head(folder: Path, weights: HeadWeights) -> str:
    """Write `head.npz`, in float32, and return its SHA-256.

    Raises:
        OSError: The disk refuses.
    """
    squeeze, excite, fc = (np.asarray(getattr(weights, name), np.float32) for name in _MATRICES)
    buffer = io.BytesIO()
    np.savez(buffer, squeeze=squeeze, excite=excite, fc=fc)
    data = buffer.getvalue()
    (folder / HEAD_FILE).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_head(folder: Path, form: HeadForm) -> HeadWeights | None:
    """Read the weights of the head that a plan leaves to the kernel.

    Args:
        folder: Of a plan that has been verified (`mgts_trt.plans.plan.find_plan`), and this file with it.
        form: Of the plan, as its identity names it.

    Returns:
        float32 matrices; None for a plan with its head inside.

    Raises:
        PlanError: They cannot be read.
    """
    if form == "graph":
        return None
    path = folder / HEAD_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return HeadWeights(*(arrays[name] for name in _MATRICES))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PlanError(f"Cannot read {path}: {error}. Build it again with `mgts-trt build --head fused`.") from error
