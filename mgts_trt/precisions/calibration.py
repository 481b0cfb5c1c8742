"""How great an activation may be before INT8 clips it, from histograms of real activations."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from mgts_trt._typing import Array
from mgts_trt.bundle.recipe import Calibration
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.int8 import LEVELS
from mgts_trt.precisions.onnx_file import open_session

Method: TypeAlias = Calibration
METHODS: tuple[Method, ...] = get_args(Calibration)

PERCENTILE = 99.99
"""Per cent of the values that method `percentile` does not clip."""

_BINS = 4096
_CANDIDATES = np.geomspace(1 / 64, 1, 64)


class Histogram:
    """How often magnitudes occur; it widens, without forgetting, when greater ones come."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.largest = 0.0
        self._limit = 0.0  # upper edge of the last bin

    def add(self, values: Array) -> None:
        """Count the magnitudes of a float array of any shape, all of them finite."""
        magnitudes = np.abs(values).ravel()
        largest = float(magnitudes.max(initial=0))
        self.largest = max(self.largest, largest)
        if self._limit == 0:
            self._limit = largest
        while self._limit < largest:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(_BINS // 2, np.int64)])
            self._limit *= 2
        if self._limit > 0:
            bins = np.minimum(magnitudes * np.float32(_BINS / self._limit), _BINS - 1).astype(np.int16)
            self.counts += np.bincount(bins, minlength=_BINS)
        else:
            self.counts[0] += magnitudes.size

    def threshold(self, method: Method) -> float:
        """The magnitude that becomes 127.

        Args:
            method: `max` clips nothing; `percentile` clips the greatest 0.01 per cent; `mse` gives the least mean
                square error of rounding and clipping together.
        """
        if method == "max" or self._limit == 0:
            return self.largest
        edges = np.arange(1, _BINS + 1) * (self._limit / _BINS)
        if method == "percentile":
            share = np.cumsum(self.counts) / max(self.counts.sum(), 1)
            return float(min(edges[np.searchsorted(share, PERCENTILE / 100)], self.largest))
        centres = edges - self._limit / _BINS / 2
        candidates = self.largest * _CANDIDATES
        scales = candidates[:, None] / LEVELS
        rounded = np.minimum(np.rint(centres / scales), LEVELS) * scales
        errors = np.square(rounded - centres) @ self.counts.astype(np.float64)
        return float(candidates[errors.argmin()])


def calibrate(
    model: ModelProto,
    tensors: Collection[str],
    inputs: Iterable[Mapping[str, Array]],
    *,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Histogram]:
    """Run a model and count the magnitudes of some of its tensors.

    Args:
        model: In float32, with inferred types.
        tensors: Names of float32 tensors inside it.
        inputs: The model's inputs by name, of the types and shapes it asks for; one mapping a run.
        on_step: Called after each run.

    Returns:
        A histogram of each tensor's magnitudes, over all its elements and all runs.

    Raises:
        PrecisionError: There are no inputs, or a value is not finite.
    """
    names = list(dict.fromkeys(tensors))
    if not names:
        return {}
    histograms = {name: Histogram() for name in names}
    tapped = ModelProto()
    tapped.CopyFrom(model)
    outputs = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in outputs)
    session = open_session(tapped.SerializeToString())
    empty = True
    for arrays in inputs:
        empty = False
        for name, values in zip(names, session.run(names, dict(arrays)), strict=True):
            if not np.isfinite(values).all():
                raise PrecisionError(f"The tensor {name} takes values that are not finite. Export sound weights.")
            histograms[name].add(values)
        on_step()
    if empty:
        raise PrecisionError("No picture to calibrate on; name a folder with --calibration DIR.")
    return histograms


def thresholds(histograms: Mapping[str, Histogram], method: Method) -> dict[str, float]:
    """Tensor → the magnitude that becomes 127, as `mgts_trt.precisions.int8.to_int8` takes it."""
    return {name: histogram.threshold(method) for name, histogram in histograms.items()}
