"""Where what lies in a bundle, relative to its folder; the manifest names every file that belongs to it."""

GOLDEN, RANGES, LABELLED, PARITY, PLANS = "golden", "ranges", "labelled", "parity", "plans"

OF_THE_MODELS = (GOLDEN, RANGES, LABELLED, PARITY)
"""Folders whose content belongs to the models; plans do not: each names the file it was built from."""

REFERENCE = f"{LABELLED}/reference.npz"
"""What PyTorch found in the labelled set."""


SIGNATURE = "signature.json"
"""Who made the bundle, if it is signed; see `mgts_trt.bundle.signature`. Not in the manifest, which it signs."""


def model_file(model: str, precision: str) -> str:
    """A model's ONNX file."""
    return f"{model}.{precision}.onnx"


def golden_files(name: str) -> tuple[str, str]:
    """A golden's picture, and what PyTorch gave for it."""
    return f"{GOLDEN}/{name}.png", f"{GOLDEN}/{name}.npz"


def ranges_file(model: str) -> str:
    """The measured ranges of a model: see `RangesRecord`."""
    return f"{RANGES}/{model}.json"


def parity_file(precision: str, backend: str) -> str:
    """What `mgts-trt parity --record` measured: see `ParityRecord`."""
    return f"{PARITY}/{precision}.{backend}.json"
