"""From a model and a lowering to the steps of a plan: ONNX files of which each becomes an engine, and operators."""

from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt._typing import Array
from mgts_trt.bundle import operators
from mgts_trt.bundle.manifest import Model
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.choices import Lowering
from mgts_trt.errors import BuildError
from mgts_trt.plans.batch import at_batch
from mgts_trt.plans.builder.cut import Cut, Part, cut
from mgts_trt.plans.builder.one_picture import fix_batch, varies
from mgts_trt.plans.chain import OperatorStep


class EngineFile(NamedTuple):
    """What becomes an engine.

    Attributes:
        path: An ONNX file that TensorRT parses.
        inputs: Name → tensor, as the engine must have them.
        outputs: Likewise.
    """

    path: Path
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class Lowered(NamedTuple):
    """The steps of a plan, and what passes between them; see `mgts_trt.plans.chain`."""

    steps: tuple[EngineFile | OperatorStep, ...]
    tensors: dict[str, TensorSpec]
    constants: dict[str, Array]


def lower(path: Path, entry: Model, lowering: Lowering, folder: Path, batch: int = 1) -> Lowered:
    """Lower the operators that a model calls.

    Args:
        path: The model's ONNX file.
        entry: What the manifest says of the model.
        lowering: How.
        folder: Empty; it takes the ONNX files that the model becomes. A model that needs no change is taken as it lies.
        batch: Pictures at once. For one, the dimension B is fixed in the files.

    Raises:
        BuildError: See `mgts_trt.plans.builder.cut.cut`; or the model's tensors are not those the manifest names.
        OnnxError: The file cannot be read.
        OSError: The disk refuses.
    """
    inputs, outputs = at_batch(entry.inputs, batch), at_batch(entry.outputs, batch)
    entry = entry.model_copy(update={"inputs": inputs, "outputs": outputs})
    header = load_onnx(path, weights=False)
    fixing = batch == 1 and varies(header)
    if not fixing and not header.functions:
        return Lowered((EngineFile(path, inputs, outputs),), {**inputs, **outputs}, {})
    model = load_onnx(path)
    if fixing:
        fix_batch(model)
    if lowering == "kernel" and header.functions:
        return _as_chain(cut(model, path), path, entry, folder)
    if lowering == "plugin":
        operators.drop_functions(model)
    whole = _save(operators.inline(model), folder / path.name)
    return Lowered((EngineFile(whole, inputs, outputs),), {**inputs, **outputs}, {})


def _as_chain(pieces: Cut, path: Path, entry: Model, folder: Path) -> Lowered:
    _require_tensors(pieces, path, entry)
    steps: list[EngineFile | OperatorStep] = []
    for step in pieces.steps:
        if isinstance(step, Part):
            number = sum(isinstance(each, EngineFile) for each in steps)
            file = _save(step.model, folder / f"{path.stem}.{number}{path.suffix}")
            steps.append(EngineFile(file, step.inputs, step.outputs))
        else:
            steps.append(step)
    return Lowered(tuple(steps), pieces.tensors, pieces.constants)


def _require_tensors(pieces: Cut, path: Path, entry: Model) -> None:
    """What the chain takes and gives is what the manifest says; each engine's own tensors are looked at later."""
    made = {name for step in pieces.steps for name in step.outputs}
    if missing := entry.outputs.keys() - made:
        raise BuildError(f"{path} makes no {min(missing)}, which the manifest names. Export the bundle again.")
    for step in pieces.steps:
        foreign = [name for name in step.inputs if name not in made and name not in pieces.constants]
        if unknown := [name for name in foreign if name not in entry.inputs]:
            raise BuildError(f"{path} takes {unknown[0]}, which the manifest does not name. Export the bundle again.")
    for name, spec in {**entry.inputs, **entry.outputs}.items():
        if name in pieces.tensors and pieces.tensors[name] != spec:
            raise BuildError(
                f"{path}: {name} is {pieces.tensors[name]}; the manifest says {spec}. Export the bundle again."
            )


def _save(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
