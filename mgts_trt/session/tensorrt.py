"""TensorRT plans at run time: which one fits this machine, and whether it is whole."""

from collections.abc import Sequence
from typing import NoReturn

from mgts_trt.bundle import Bundle
from mgts_trt.device import Gpu, find_gpus
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.plan import PlanIdentity, PlanRecord, build_command, find_plan, plan_folders
from mgts_trt.trt import CURRENT, PORTABLE, Flavour, broken_flavours, find_flavour, require_flavour, runs_on, title

NOT_YET = "This version builds and verifies plans; it runs bundles on ONNX Runtime."


def check_plan(bundle: Bundle, model: str, precision: str) -> PlanRecord:
    """Find and verify the plan this machine would run.

    A plan for exactly this GPU is preferred to a portable one. Without a GPU the portable plan is checked.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.

    Raises:
        BackendError: There is no TensorRT here, or (plain TensorRT) no GPU to compare a plan with.
        BundleError: The bundle does not hold the model in that precision.
        PlanError: There is no such plan, it was built for something else, or it is altered.
    """
    flavour = require_flavour()
    expected = [
        PlanIdentity.of(bundle, model, precision, target, flavour) for target in runnable_targets(flavour, find_gpus())
    ]
    if not expected:
        raise BackendError(
            f"{flavour} runs plans on the GPU they were built on, and there is no NVIDIA GPU here that it supports. "
            "Use --backend onnxruntime."
        )
    there = [identity for identity in expected if (bundle.plans / identity.folder).is_dir()]
    return PlanRecord.read(find_plan(bundle, (there or expected)[0]).parent)


def runnable_targets(flavour: Flavour, gpus: Sequence[Gpu]) -> list[str]:
    """Targets whose plans the first GPU runs, best first; without a GPU, what does not depend on one."""
    portable = [PORTABLE] if PORTABLE in flavour.targets else []
    if not gpus:
        return portable
    sm = gpus[0].sm
    own = [sm] if sm in flavour.targets or CURRENT in flavour.targets else []
    return own + [target for target in portable if runs_on(target, sm)]


def why_not_tensorrt(bundle: Bundle, models: Sequence[str], precision: str) -> str:
    """In one sentence, the first reason why TensorRT does not run these models here.

    Args:
        bundle: An opened bundle.
        models: Names of the models wanted.
        precision: One of their precisions.
    """
    flavour = find_flavour()
    if flavour is None:
        broken = [f"{title(name)} is installed, but does not load: {why}." for name, why in broken_flavours().items()]
        return broken[0] if broken else "TensorRT is not installed."
    if not find_gpus():
        return f"{flavour} is installed, but no NVIDIA GPU was found."
    if not plan_folders(bundle):
        return f"There are no plans for this bundle; build them with `{build_command(bundle.root)}`."
    for model in models:
        try:
            check_plan(bundle, model, precision)
        except MgtsError as error:
            return str(error)
    return NOT_YET


class TensorRTSession:
    """A model of a bundle as a TensorRT plan; in this version it is verified, and then refused.

    Args:
        bundle: An opened bundle.
        model: One of its models.
        precision: One of the model's precisions.

    Raises:
        BackendError: Always, once the plan has been found whole; see `check_plan` for what is raised before.
        PlanError: See `check_plan`.
    """

    def __init__(self, bundle: Bundle, model: str, precision: str) -> NoReturn:
        record = check_plan(bundle, model, precision)
        raise BackendError(f"The plan {record.identity.folder} is whole and fits. {NOT_YET} Use --backend onnxruntime.")
