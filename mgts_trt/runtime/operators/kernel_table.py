"""Which class makes the launches of which operator."""

from collections.abc import Callable
from inspect import signature

from mgts_trt.errors import BackendError
from mgts_trt.plans.chain import OperatorStep
from mgts_trt.runtime.operators.align_rois import AlignRois
from mgts_trt.runtime.operators.nms import Nms
from mgts_trt.runtime.operators.operator_kernel import OperatorKernel
from mgts_trt.runtime.operators.ps_assemble import PsAssemble
from mgts_trt.runtime.operators.se_head import SeHead

KERNELS: dict[str, Callable[..., OperatorKernel]] = {
    "AlignRois": AlignRois,
    "Nms": Nms,
    "PsAssemble": PsAssemble,
    "SeHead": SeHead,
}
"""By the names of `engines/operators/README.md`."""


def kernel_of(step: OperatorStep) -> OperatorKernel:
    """The kernel that computes a step of a chain.

    Raises:
        BackendError: There is no kernel for the operator, or it cannot do these attributes.
    """
    if step.operator not in KERNELS:
        raise BackendError(
            f"There is no kernel for the operator {step.operator} ({step.node}); there are {', '.join(KERNELS)}. "
            "Build the plan again with the installed version."
        )
    kernel = KERNELS[step.operator]
    try:
        signature(kernel).bind(**step.attributes)
    except TypeError as error:
        raise BackendError(
            f"The attributes of {step.operator} ({step.node}) are not those its kernel takes: {error}. "
            "Build the plan again with the installed version."
        ) from error
    return kernel(**step.attributes)
