"""A re-ID network recognised: its input, its features, and what it cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.onnx_graph import all_nodes, element_type
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.folding import DATA_DEPENDENT
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.recognised import Row
from mgts_trt.importing.original import Original, dims_of, real_inputs, shape_text
from mgts_trt.importing.reid_options import USUAL_SIZE, ReidOptions

_NO_NUMBERS = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators behind which a tensor holds the same numbers."""

_LEAST = 8
"""Shorter outputs are no features of a person: a distance, a count, a gender."""


@dataclass(frozen=True)
class Reid:
    """A re-ID network as it will be imported.

    Attributes:
        input: Name of the tensor it takes crops by, [N, 3, H, W].
        hw: Height and width, pixels.
        batch: How many crops it takes at a time; None for any number.
        output: Name of the tensor of features.
        embedding: Number of features, D.
        unit_length: Whether its features have length 1 already.
        options: How its author prepares crops.
    """

    input: str
    hw: tuple[int, int]
    batch: int | None
    output: str
    embedding: int
    unit_length: bool
    options: ReidOptions

    def table(self) -> list[Row]:
        """All of it for people, a line each: what, its value, how it is known."""
        options, (height, width) = self.options, self.hw
        batch = "any number" if self.batch is None else f"{self.batch} at a time"
        return [
            Row("input", f"{self.input}, {height} × {width}, {batch}", "the file"),
            Row("features", f"{self.output}, {self.embedding} numbers", "the file"),
            Row("length", "1 already" if self.unit_length else "brought to 1 here", "run on noise"),
            Row("colour", options.colour, options.why("colour")),
            Row("pixels", f"0 … {options.value_range}", options.why("value_range")),
            Row("mean", " ".join(f"{each:g}" for each in options.mean), options.why("mean")),
            Row("std", " ".join(f"{each:g}" for each in options.std), options.why("std")),
            Row("resize", options.resize, options.why("resize")),
        ]


def recognise_reid(original: Original, options: ReidOptions) -> Reid:
    """What a re-ID network is.

    Args:
        original: Its file.
        options: What is known already.

    Raises:
        OnnxError: It is no re-ID network, or not without saying more; the message says what to do.
    """
    model, where = original.model, original.path
    name, batch, hw = _input(original, options)
    found = sorted({node.op_type for node in all_nodes(model.graph)} & DATA_DEPENDENT)
    if found:
        raise OnnxError(
            f"{where} holds {', '.join(found)}, whose results are as large as what they find, and no plan of fixed "
            "shapes takes. Export the network alone, without what chooses or filters."
        )
    noise = np.random.default_rng(0).normal(0, 1, (batch or 2, 3, *hw)).astype(np.float32)
    values = run(model, {name: noise})
    output = _output(original, values, options, batch or 2)
    rows = values[output].reshape(batch or 2, -1)
    _refuse_classifier(original, output, rows)
    lengths = np.linalg.norm(rows, axis=1)
    return Reid(name, hw, batch, output, rows.shape[1], bool(np.allclose(lengths, 1, atol=1e-3)), options)


def _input(original: Original, options: ReidOptions) -> tuple[str, int | None, tuple[int, int]]:
    inputs = real_inputs(original.model)
    told = "; ".join(f"{value.name} {shape_text(value)}" for value in inputs) or "none"
    expected = "one of float32 [N, 3, H, W] is expected"
    dims = dims_of(inputs[0]) if len(inputs) == 1 else None
    if dims is None or len(dims) != 4 or element_type(inputs[0].type.tensor_type.elem_type) != "float32":
        raise OnnxError(
            f"{original.path} takes {told}, and {expected}. Export the network that describes crops, alone."
        )
    batch, channels, height, width = dims
    if channels != 3 and width == 3:
        raise OnnxError(f"{original.path} takes {told}, channels last, and {expected}. Export it channels first.")
    if channels != 3:
        raise OnnxError(f"{original.path} takes {told}, and {expected}. Export it for colour pictures.")
    wanted = options.size or USUAL_SIZE
    hw = (height if isinstance(height, int) else wanted[0], width if isinstance(width, int) else wanted[1])
    if options.size not in (None, hw):
        raise OnnxError(
            f"{original.path} takes {told}, and a size of {wanted[0]} × {wanted[1]} was asked for. Leave --reid-size "
            "out, or export the network at that size."
        )
    return inputs[0].name, batch if isinstance(batch, int) and batch > 0 else None, hw


def _output(original: Original, values: dict[str, Array], options: ReidOptions, batch: int) -> str:
    told = "; ".join(f"{name} {value.dtype} {list(value.shape)}" for name, value in values.items())
    if options.output is not None and options.output not in values:
        raise OnnxError(
            f"{original.path} has no output {options.output!r}; it gives {told}. Name one with --reid-output."
        )
    fitting = [name for name, value in values.items() if _is_features(value, batch)]
    chosen = [options.output] if options.output is not None else fitting
    if len(chosen) > 1:
        raise OnnxError(
            f"{original.path} gives {told}: any of {', '.join(chosen)} could be the features. Say which: "
            f"--reid-output {chosen[0]}."
        )
    if not chosen or chosen[0] not in fitting:
        raise OnnxError(
            f"{original.path} gives {told} for {batch} crops, and one row of features each, float32 [N, D], is "
            "expected. Export the network that describes crops, up to its pooled features."
        )
    return chosen[0]


def _is_features(value: Array, batch: int) -> bool:
    """Whether a tensor is [N, D], or [N, D, 1, 1]."""
    shape: Sequence[int] = value.shape
    return (
        value.dtype == np.float32
        and len(shape) >= 2
        and shape[0] == batch
        and shape[1] >= _LEAST
        and all(size == 1 for size in shape[2:])
    )


def _refuse_classifier(original: Original, output: str, rows: Array) -> None:
    maker = {name: node for node in original.model.graph.node for name in node.output}
    node: Any = maker.get(output)
    while node is not None and node.op_type in _NO_NUMBERS:
        node = maker.get(node.input[0])
    ends = node is not None and node.op_type in ("LogSoftmax", "Softmax")
    if ends or ((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3)):
        raise OnnxError(
            f"{original.path} gives probabilities of {rows.shape[1]} classes in {output}: it is a classifier, not a "
            "re-ID network. Export the features before its last layer (in torchreid: the model in eval mode)."
        )
