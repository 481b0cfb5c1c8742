"""One exported model in FP16 and INT8, each made from the file before."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import onnx

from mgts_trt._typing import Array
from mgts_trt.bundle.layout import model_file, ranges_file
from mgts_trt.bundle.manifest import BundleFile, Manifest, Model, Quantisation
from mgts_trt.bundle.onnx_graph import opset
from mgts_trt.bundle.recipe import Precision, load_recipe
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.calibration import Histogram, calibrate, thresholds
from mgts_trt.precisions.half import half_nodes, to_half
from mgts_trt.precisions.int8 import activations, layer_names, match_layers, to_int8
from mgts_trt.precisions.onnx_file import QUANTISES_HALF, load_typed, require_runs, save_checked, tensor_specs
from mgts_trt.precisions.ranges import largest, measure_ranges, write_ranges
from mgts_trt.precisions.recording import Recording, model_inputs

PRECISIONS = ("fp32", "fp16", "int8")
"""In the order in which they are made, each from the one before."""

STEPS = ("measure", "convert", "calibrate", "quantise")
"""What is done with a model: two for FP16, two more for INT8."""

Inputs = Mapping[str, Array]


def require_precisions(precisions: Collection[str]) -> None:
    """Raise `PrecisionError` for a precision that cannot be made, or for none."""
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or not precisions:
        raise PrecisionError(
            f"There is no precision {', '.join(unknown) or 'named'}; there are {', '.join(PRECISIONS)}."
        )


def lower(
    name: str,
    root: Path,
    entry: Model,
    manifest: Manifest,
    precisions: Collection[str],
    goldens: Sequence[Recording],
    calibration: Sequence[Recording],
    *,
    on_step: Callable[[str, str], None],
    on_picture: Callable[[str, int, int], None],
    check: Callable[[str], None] = lambda precision: None,
) -> Model:
    """Write a model's files in lower precisions beside its FP32 file, and remove what was not asked for.

    Args:
        name: Of the model.
        root: Folder of the bundle.
        entry: The manifest's entry, with the FP32 file.
        manifest: For the sizes of patches.
        precisions: Of `PRECISIONS`: which to keep.
        goldens: Pictures to measure ranges on; with people, where the model describes them.
        calibration: Further ones, and those INT8 is calibrated on.
        on_step: Called with the model and each of `STEPS` before it.
        on_picture: Called with the model, pictures done, and pictures in all while INT8 is calibrated.
        check: Called with each precision whose file has been written.

    Returns:
        The entry with the files that are there.

    Raises:
        PrecisionError: A value is not finite, or a file does not run.
        RecipeError: A file's tensors are not the recipe's, or the recipe does not know INT8.
    """
    if {"fp16", "int8"} & set(precisions):
        pictures = [*goldens, *calibration]
        samples = [model_inputs(item, manifest, entry.inputs) for item in pictures]
        entry = write_half(name, root, entry, samples, [item.name for item in pictures], partial(on_step, name))
        check("fp16")
        if "int8" in precisions:
            done = itertools.count(1)
            entry = write_int8(
                name,
                root,
                entry,
                samples[len(goldens) :],
                partial(on_step, name),
                lambda: on_picture(name, next(done), len(calibration)),
            )
            check("int8")
    for precision in entry.files.keys() - set(precisions):
        (root / entry.files[precision].file).unlink()
    return entry.model_copy(update={"files": {p: file for p, file in entry.files.items() if p in precisions}})


def write_half(
    name: str,
    root: Path,
    entry: Model,
    samples: Sequence[Inputs],
    pictures: Sequence[str],
    on_step: Callable[[str], None],
) -> Model:
    """Write a model's FP16 file beside its FP32 file, and the ranges that decided it.

    Args:
        name: Of the model.
        root: Folder of the bundle.
        entry: The manifest's entry, with the FP32 file.
        samples: The model's inputs on each picture.
        pictures: Their names.
        on_step: Called with `measure` and `convert` before each.

    Returns:
        The entry with the new files.

    Raises:
        PrecisionError: A value is not finite, or the file does not run.
        RecipeError: The file's tensors are not the recipe's.
    """
    on_step("measure")
    model = load_typed(root / model_file(name, "fp32"))
    ranges = measure_ranges(model, samples)
    if ranges:
        write_ranges(root / ranges_file(name), ranges, pictures)

    on_step("convert")
    path = root / model_file(name, "fp16")
    peaks = largest(ranges)
    nodes, kept = half_nodes(model, peaks)
    save_checked(to_half(model, nodes, peaks), path)
    load_recipe(name).bind(*tensor_specs(path))
    require_runs(path, samples[0])
    return entry.model_copy(
        update={
            "files": {**entry.files, "fp16": BundleFile.of(root, path.name)},
            "ranges": BundleFile.of(root, ranges_file(name)) if ranges else None,
            "kept_float32": {"fp16": kept} if kept else {},
        }
    )


def write_int8(
    name: str,
    root: Path,
    entry: Model,
    samples: Sequence[Inputs],
    on_step: Callable[[str], None],
    on_picture: Callable[[], None] = lambda: None,
) -> Model:
    """Write a model's INT8 file beside its FP32 and FP16 files, as its recipe says.

    Args:
        name: Of the model.
        root: Folder of the bundle.
        entry: The manifest's entry, with the FP32 and the FP16 file.
        samples: The model's inputs on each calibration picture.
        on_step: Called with `calibrate` and `quantise` before each.
        on_picture: Called after each picture.

    Returns:
        The entry with the new file.

    Raises:
        PrecisionError: There are no samples, a value is not finite, or the file does not run.
        RecipeError: The recipe does not know INT8, or the file's tensors are not the recipe's.
    """
    recipe = load_recipe(name)
    how = recipe.of("int8")
    on_step("calibrate")
    quantiser = Quantiser(root / model_file(name, "fp32"), root / model_file(name, "fp16"))
    quantiser.calibrate(samples, on_picture)

    on_step("quantise")
    path = root / model_file(name, "int8")
    kept = match_layers(quantiser.layers.values(), how.keep)
    save_checked(quantiser.quantise(how, set(quantiser.layers.values()) - kept), path)
    recipe.bind(*tensor_specs(path))
    require_runs(path, samples[0])
    return entry.model_copy(
        update={
            "files": {**entry.files, "int8": BundleFile.of(root, path.name)},
            "quantisation": Quantisation(
                calibration=how.calibration, residuals=how.residuals, kept=tuple(sorted(kept))
            ),
        }
    )


class Quantiser:
    """A model in FP32 and FP16, to be quantised once or, for a study of sensitivity, many times.

    Args:
        full: The FP32 file.
        half: The FP16 file made of it.

    Attributes:
        layers: Node → layer, of all that can be quantised.
        histograms: Of the tensors to quantise, after `calibrate`.
    """

    def __init__(self, full: Path, half: Path) -> None:
        self.full, self.half = load_typed(full), load_typed(half)
        if (version := opset(self.full)) < QUANTISES_HALF:
            raise PrecisionError(
                f"{full.name} is of ONNX's opset {version}, and cannot be converted to {QUANTISES_HALF}, which INT8 "
                f"needs. Export the model with opset {QUANTISES_HALF} or newer, or take FP16."
            )
        in_half = half_nodes(self.full)[0]  # by kind; what overflows half stands in float32 in the file
        types = {value.name: value.type.tensor_type.elem_type for value in self.half.graph.value_info}
        computed = {node.name: types.get(node.input[0]) for node in self.half.graph.node if node.name in in_half}
        self.layers = {
            node: layer
            for node, layer in layer_names(self.full).items()
            if computed.get(node) == onnx.TensorProto.FLOAT16
        }
        self.histograms: dict[str, Histogram] = {}

    def calibrate(self, samples: Iterable[Inputs], on_picture: Callable[[], None] = lambda: None) -> None:
        """Count the values of everything that could be quantised; see `mgts_trt.precisions.calibration.calibrate`."""
        wanted = activations(self.half, self.full, self.layers, residuals=True)
        self.histograms = calibrate(self.full, {item.tensor for item in wanted}, samples, on_step=on_picture)

    def quantise(self, how: Precision, layers: set[str]) -> onnx.ModelProto:
        """The model with these layers in INT8, calibrated."""
        nodes = {node for node, layer in self.layers.items() if layer in layers}
        return to_int8(
            self.half, self.full, nodes, thresholds(self.histograms, how.calibration), residuals=how.residuals
        )
