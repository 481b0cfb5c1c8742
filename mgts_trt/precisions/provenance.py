"""Where a converted file comes from, for the manifest."""

from mgts_trt.bundle.manifest import Converted
from mgts_trt.machine.installation import versions_of

_PACKAGES = ("onnx", "onnxruntime", "numpy")


def provenance(fp32_sha256: str, calibration_sha256: str | None, *, at_parity: bool | None = None) -> Converted:
    """What the manifest says of a file that is made here and now.

    Args:
        fp32_sha256: Of the file it was made from.
        calibration_sha256: Of INT8's calibration set.
        at_parity: Whether it was compared on the goldens and within its tolerances; None: not compared.
    """
    return Converted(
        fp32_sha256=fp32_sha256,
        calibration_sha256=calibration_sha256,
        versions=versions_of(_PACKAGES),
        at_parity=at_parity,
    )
