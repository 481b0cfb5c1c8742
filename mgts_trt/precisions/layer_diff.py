"""FP32 and a lower precision side by side, layer by layer: where a result begins to differ, and what adds to it.

Both files run on ONNX Runtime through Polygraphy's runners, with each tensor that both have as an output, and its
comparator gives the signal-to-noise ratio of each: 20 dB is an error of a tenth of the signal, 40 dB of a hundredth.

Behind a choice among rows (the best, or by NMS) that comes out otherwise, rows are of other boxes, and comparing them
element by element says nothing. So both get FP32's choices as inputs, which keeps all tensors comparable to the end.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.operators import DOMAIN
from mgts_trt.errors import PrecisionError
from mgts_trt.evaluation.polygraphy_files import quiet_polygraphy
from mgts_trt.pictures.figures import new_figure, save_figure
from mgts_trt.precisions.convert import record_detections
from mgts_trt.precisions.half import Tensors, simulate_rounding, write_nodes
from mgts_trt.precisions.int8 import layer_names
from mgts_trt.precisions.onnx_file import open_session
from mgts_trt.precisions.recording import model_inputs, start_recording

TOLERANCE = {"fp16": 40.0, "int8": 15.0}
"""Least ratio that is taken for rounding alone, dB, where no other is asked for."""

PART_BYTES = 128 * 2**20
"""Tensors of one run, of one precision and picture: more runs take less memory."""

EXACT = 80.0
"""dB: what is better counts as this, where losses are told and drawn."""


@dataclass(frozen=True)
class Layer:
    """One tensor that both precisions compute.

    Attributes:
        layer: What computes it: by its weights' name where it has any, else by its node's.
        operator: Of the node.
        tensor: Its name.
        ratio: Signal to noise, dB: the least of all pictures. Infinite where nothing differs, −∞ where all is noise.
        before: The least ratio of what the node reads.
    """

    layer: str
    operator: str
    tensor: str
    ratio: float
    before: float

    @property
    def lost(self) -> float:
        """What this node adds to the noise, dB: how much worse it gives than it gets."""
        return min(self.before, EXACT) - min(self.ratio, EXACT)


@dataclass(frozen=True)
class ModelDiff:
    """One model in two precisions.

    Attributes:
        model: Its name.
        precision: The lower one.
        tolerance: dB.
        layers: In the order of the graph, given FP32's choices.
        chooser: The first node that, left alone, chooses other rows in the lower precision; empty where none does.
    """

    model: str
    precision: str
    tolerance: float
    layers: tuple[Layer, ...]
    chooser: str

    @property
    def beyond(self) -> tuple[Layer, ...]:
        """Those below the tolerance, in the order of the graph: the first is where to look."""
        return tuple(layer for layer in self.layers if not layer.ratio >= self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it: a ratio that is infinite is None."""
        layers = [{key: _finite(value) for key, value in asdict(layer).items()} for layer in self.layers]
        return {**asdict(self), "layers": layers, "beyond": [layer.tensor for layer in self.beyond]}


def read_samples(bundle: Bundle, pictures: Sequence[Path]) -> dict[str, list[dict[str, Array]]]:
    """What each model of a bundle is given on some pictures, by default on its goldens.

    Raises:
        PrecisionError: None are named, and the bundle has no goldens.
        ImageError: A picture cannot be read.
    """
    manifest = bundle.manifest
    paths = list(pictures) or [bundle.root / golden.picture.file for golden in manifest.golden]
    if not paths:
        raise PrecisionError("The bundle has no goldens to run on; name pictures with --image PHOTO.")
    recordings = [start_recording(path, manifest) for path in paths]
    record_detections(bundle, recordings)
    samples = {
        name: [model_inputs(item, manifest, model.inputs) for item in recordings]
        for name, model in manifest.models.items()
    }
    return {name: [inputs for inputs in runs if all(map(len, inputs.values()))] for name, runs in samples.items()}


def diff_model(
    bundle: Bundle,
    name: str,
    precision: str,
    samples: Sequence[Mapping[str, Array]],
    *,
    tolerance: float | None = None,
    part_bytes: int = PART_BYTES,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> ModelDiff:
    """Compare one model's FP32 file with one of a lower precision.

    Halves are rounded as a GPU rounds them (`mgts_trt.precisions.half.simulate_rounding`).

    Args:
        bundle: With both files.
        name: Of the model.
        precision: The lower one.
        samples: The model's inputs, one mapping a picture.
        tolerance: dB; by default `TOLERANCE`'s.
        part_bytes: Most bytes of tensors that one run keeps; a larger tensor has a run of its own.
        on_step: Called with runs done, and runs in all.

    Raises:
        PrecisionError: There is nothing to run on, or the precision is no lower one.
        BundleError: The bundle lacks a file.
        MgtsError: Polygraphy is missing.
    """
    if precision not in TOLERANCE:
        raise PrecisionError(f"FP32 can be compared with {' and '.join(TOLERANCE)}, not with {precision!r}.")
    if not samples:
        raise PrecisionError(f"Nobody was found in the pictures, so {name} has nothing to describe. Name others.")
    full = _typed(bundle.model_path(name, "fp32"))
    lower = simulate_rounding(_typed(bundle.model_path(name, precision)))
    floats, choices = _shared(full, lower)
    sizes = _sizes(full, {name: len(array) for sample in samples for name, array in sample.items()})
    parts = [list(choices)] * bool(choices) + list(_parts(floats, sizes, part_bytes))
    taken: list[dict[str, Array]] = [{} for _ in samples]
    differing: set[str] = set()
    ratios: dict[str, float] = {}
    with quiet_polygraphy() as polygraphy:
        for number, part in enumerate(parts):
            choosing = bool(choices) and number == 0
            given = {} if choosing else choices
            sessions = {
                kind: open_session(_tapped(model, part, given)) for kind, model in (("fp32", full), (precision, lower))
            }
            for done, inputs in enumerate(samples):
                on_step(number * len(samples) + done, len(parts) * len(samples))
                results = _run(polygraphy, sessions, {**inputs, **taken[done]})
                if choosing:
                    [(_, [ours]), (_, [theirs])] = results
                    taken[done] = {tensor: np.array(ours[tensor]) for tensor in part}
                    differing.update(t for t in part if not np.array_equal(taken[done][t], theirs[t]))
                else:
                    for tensor, ratio in _ratios(polygraphy, results).items():
                        # NaN, as of values that overflow, is the worst there is.
                        worst = -math.inf if math.isnan(ratio) else ratio
                        ratios[tensor] = min(ratios.get(tensor, math.inf), worst)
    on_step(len(parts) * len(samples), len(parts) * len(samples))
    bound = TOLERANCE[precision] if tolerance is None else tolerance
    return ModelDiff(name, precision, bound, _layers(full, ratios), _first(full, differing))


def draw(diffs: Sequence[ModelDiff], path: Path) -> None:
    """Draw the ratio of each layer along the graph, one panel a model.

    Raises:
        MgtsError: matplotlib is missing, or the file cannot be written.
    """
    figure = new_figure(10, 2.6 * len(diffs))
    for i, diff in enumerate(diffs):
        axes = figure.add_subplot(len(diffs), 1, i + 1)
        axes.plot([min(max(layer.ratio, 0.0), EXACT) for layer in diff.layers], linewidth=1.2)
        axes.axhline(diff.tolerance, linewidth=1, linestyle="--", color="0.4")
        if diff.beyond:
            place = diff.layers.index(diff.beyond[0])
            axes.plot([place], [max(diff.beyond[0].ratio, 0.0)], "o")
            axes.annotate(
                diff.beyond[0].layer,
                (place, max(diff.beyond[0].ratio, 0.0)),
                (6, -12),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set_ylim(0, EXACT + 2)
        axes.set_title(f"{diff.model}, {diff.precision} against fp32")
        axes.set_ylabel("signal to noise, dB")
    axes.set_xlabel("tensors in the order of the graph")
    save_figure(figure, path)


def _typed(path: Path) -> ModelProto:
    """A file with the types of all its tensors, which not every exporter writes."""
    return onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)


def _shared(full: ModelProto, lower: ModelProto) -> tuple[list[str], dict[str, int]]:
    """The tensors that both compute from their inputs, in the graph's order: floats; and choices, with their types."""
    tensors = Tensors(full)
    there = {name for node in lower.graph.node for name in node.output}
    floats: list[str] = []
    choices: dict[str, int] = {}
    for node in full.graph.node:
        for name in node.output:
            if name not in there or name in tensors.constant:
                continue
            kind = tensors.types.get(name)
            if kind in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL) or (kind and _is_nms(node)):
                choices[name] = kind
            elif kind == TensorProto.FLOAT:
                floats.append(name)
    return floats, choices


def _is_nms(node: NodeProto) -> bool:
    return (node.domain, node.op_type) == (DOMAIN, "Nms")


def _sizes(model: ModelProto, lengths: Mapping[str, int]) -> dict[str, int]:
    """Tensor → bytes in float32; named dimensions are as long as the inputs."""
    longest = max(lengths.values())
    sizes = {}
    for value in (*model.graph.value_info, *model.graph.output):
        dims = [dim.dim_value or longest for dim in value.type.tensor_type.shape.dim]
        sizes[value.name] = 4 * math.prod(dims)
    return sizes


def _parts(tensors: Sequence[str], sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """The tensors in runs of so many bytes."""
    part: list[str] = []
    taken = 0
    for name in tensors:
        size = sizes.get(name, most // 8)
        if part and taken + size > most:
            yield part
            part, taken = [], 0
        part.append(name)
        taken += size
    if part:
        yield part


def _tapped(model: ModelProto, tensors: Sequence[str], given: Mapping[str, int]) -> bytes:
    """A model that gives these tensors, takes others, by name and type, as inputs, and computes no more than needed."""
    tapped = ModelProto()
    tapped.CopyFrom(model)
    for node in tapped.graph.node:
        for i, name in enumerate(node.output):
            if name in given:
                node.output[i] = f"{name}.own"
    del tapped.graph.output[:]
    tapped.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    write_nodes(tapped, list(tapped.graph.node))
    read = {name for node in tapped.graph.node for name in node.input}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    tapped.graph.input.extend(
        helper.make_tensor_value_info(name, kind, [f"{name}.{i}" for i in range(ranks[name])])
        for name, kind in given.items()
        if name in read
    )
    del tapped.graph.value_info[:]
    return bytes(tapped.SerializeToString())


def _run(polygraphy: Any, sessions: Mapping[str, Any], inputs: Mapping[str, Array]) -> Any:
    from polygraphy.backend.onnxrt import OnnxrtRunner

    runners = [OnnxrtRunner(session, name=kind) for kind, session in sessions.items()]
    return polygraphy.comparator.Comparator.run(runners, data_loader=[dict(inputs)])


def _ratios(polygraphy: Any, results: Any) -> dict[str, float]:
    """Signal to noise of each tensor, dB."""
    compare = polygraphy.comparator.SnrCompareFunc()
    with np.errstate(all="ignore"):  # what overflowed has a ratio that is no number
        [of_function] = polygraphy.comparator.Comparator.compare_accuracy(results, compare_func=compare)
    [[found]] = of_function.values()
    # Where shapes differ there is no ratio, only False.
    return {name: getattr(result, "snr", -math.inf) for name, result in found.items()}


def _layers(full: ModelProto, ratios: Mapping[str, float]) -> tuple[Layer, ...]:
    """The tensors compared, in the order of the graph, each with the least ratio of what its node reads."""
    names = layer_names(full)
    noise: dict[str, float] = {}
    layers = []
    for node in full.graph.node:
        before = min((noise.get(name, math.inf) for name in node.input if name), default=math.inf)
        for name in node.output:
            noise[name] = ratios.get(name, before)
            if name in ratios:
                layers.append(Layer(names.get(node.name, node.name), node.op_type, name, ratios[name], before))
    return tuple(layers)


def _first(full: ModelProto, differing: set[str]) -> str:
    """The first node that makes one of these tensors."""
    return next((f"{node.name} ({node.op_type})" for node in full.graph.node if differing & set(node.output)), "")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
