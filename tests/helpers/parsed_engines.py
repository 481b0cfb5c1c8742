"""An ONNX file of a bundle taken by TensorRT's parser as a build would, without the minutes of building."""

import tempfile
from pathlib import Path

from mgts_trt.bundle.manifest import BundleFile, Model
from mgts_trt.choices import Lowering
from mgts_trt.plans.builder.lower import EngineFile, lower
from mgts_trt.plans.builder.parsing import check_tensors, examine, parse
from mgts_trt.plans.builder.semantics import settle
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import Message
from mgts_trt.precisions.onnx_file import tensor_specs


def parsed_engines(path: Path, lowering: Lowering, batch: int, flavour: Flavour) -> int:
    """Parse and prove what the file is lowered to.

    Args:
        path: The ONNX file.
        lowering: Of the `mgts` operators.
        batch: Pictures at once.
        flavour: The TensorRT.

    Returns:
        The number of engines it would be.

    Raises:
        BuildError: TensorRT refuses it, or would compute something else.
    """
    inputs, outputs = tensor_specs(path)
    file = BundleFile.of(path.parent, path.name)
    entry = Model(files={"fp32": file}, inputs=inputs, outputs=outputs, recipe_sha256="0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        steps = lower(path, entry, lowering, Path(folder), batch).steps
        files = [step for step in steps if isinstance(step, EngineFile)]
        for step in files:
            messages: list[Message] = []
            parsed = parse(flavour, flavour.create_builder(), step.path, messages)
            check_tensors(flavour, parsed.network, step.inputs, step.outputs, step.path)
            examine(flavour, parsed.network, step.path)
            settle(flavour, parsed.network, step.path, {"B": batch})
    return len(files)
