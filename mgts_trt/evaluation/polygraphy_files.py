"""Goldens as Polygraphy takes them: `polygraphy run` then holds any backend, whoever built it, against PyTorch.

Each network gets two files, in its tensors' own names, shapes and types: what it is given on each golden picture, for
`--load-inputs`, and what PyTorch gave, for `--load-outputs`. A re-ID network gets them for each mode, whose patches
differ. This needs the package polygraphy, an extra.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import MODELS, Tolerance, load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.golden import EMBEDDINGS, GoldenCase, load_goldens, reid_inputs

PIXELS = {"fp32": 0.01, "fp16": 0.5, "int8": 2.0}
"""How far an edge of a box may be off, canvas pixels: recipes bound the IoU, which Polygraphy does not know."""


@dataclass(frozen=True)
class PolygraphyFiles:
    """One network's goldens on disk.

    Attributes:
        model: Its name.
        inputs: For `--load-inputs`: a feed a golden picture.
        outputs: For `--load-outputs`: the results of a run named `goldens`.
        pictures: How many.
        tolerances: Output → greatest absolute difference allowed.
    """

    model: str
    inputs: Path
    outputs: Path
    pictures: int
    tolerances: dict[str, float]

    def command(self, onnx_file: Path) -> str:
        """The command that compares ONNX Runtime with the goldens, as a shell takes it."""
        words = ["polygraphy", "run", str(onnx_file), "--onnxrt"]
        words += ["--load-inputs", str(self.inputs), "--load-outputs", str(self.outputs), "--rtol", "0", "--atol"]
        return shlex.join([*words, *(f"{name}:{bound:.4g}" for name, bound in self.tolerances.items())])


@contextmanager
def quiet_polygraphy() -> Iterator[Any]:
    """The package polygraphy, which writes to standard output, held silent.

    Raises:
        MgtsError: It is not installed, or so old that it lacks what is used here.
    """
    try:
        import polygraphy
        from polygraphy.comparator import SnrCompareFunc  # noqa: F401  (the newest thing that is used)
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise MgtsError(
            f"This needs the package polygraphy, which is not installed or too old ({error}): "
            "pip install 'mgts-trt[polygraphy]'"
        ) from error
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        yield polygraphy


def write_polygraphy(bundle: Bundle, folder: Path, *, precision: str = "fp32") -> list[PolygraphyFiles]:
    """Write the goldens of every model of a bundle.

    Args:
        bundle: An opened bundle with goldens.
        folder: Where to; it is there.
        precision: Whose tolerances to tell; the goldens are the same for all.

    Returns:
        What was written, in the order of `MODELS`. A re-ID network that has no golden of a person has no files.

    Raises:
        BundleError: The bundle has no goldens.
        MgtsError: Polygraphy is missing, or the folder cannot be written to.
    """
    goldens = load_goldens(bundle)
    written = []
    with quiet_polygraphy():
        for model in (name for name in MODELS if name in bundle.manifest.models):
            recipe = load_recipe(model).precision.get(precision)
            tolerances = _tolerances(bundle, model, recipe.tolerance if recipe else Tolerance(), precision)
            for stem, runs in _runs(bundle, model, goldens).items():
                files = PolygraphyFiles(
                    model, folder / f"{stem}.inputs.json", folder / f"{stem}.outputs.json", len(runs), tolerances
                )
                if runs:
                    _save(files, runs)
                    written.append(files)
    return written


def _save(files: PolygraphyFiles, runs: list[tuple[dict[str, Array], dict[str, Array]]]) -> None:
    from polygraphy.comparator import RunResults
    from polygraphy.json import save_json

    results = RunResults()
    results.add([outputs for _, outputs in runs], runner_name="goldens")
    try:
        save_json([inputs for inputs, _ in runs], str(files.inputs))
        save_json(results, str(files.outputs))
    except OSError as error:
        raise MgtsError(f"Cannot write {files.inputs.parent}: {error.strerror}. Name another folder.") from error


def _runs(
    bundle: Bundle, model: str, goldens: list[GoldenCase]
) -> dict[str, list[tuple[dict[str, Array], dict[str, Array]]]]:
    """Name of the files → inputs and outputs of each picture."""
    entry = bundle.model(model)
    if model not in EMBEDDINGS:
        runs = []
        for case in goldens:
            given = {
                "image": case.canvas,
                **{key.removeprefix(f"{model}."): rows for key, rows in case.outputs.items()},
            }
            feed = {name: _as(given[name], spec) for name, spec in entry.inputs.items()}
            rows = {name: _as(case.outputs[f"{model}.{name}"], spec) for name, spec in entry.outputs.items()}
            runs.append((feed, rows))
        return {model: runs}
    return {
        f"{model}.{mode}": [
            (reid_inputs(bundle.manifest, case, mode, entry.inputs), {"embedding": case.outputs[f"{model}.{mode}"]})
            for case in goldens
            if len(case.outputs[f"{model}.{mode}"])
        ]
        for mode in EMBEDDINGS[model]
    }


def _as(array: Array, spec: TensorSpec) -> Array:
    """A golden as the graph gives it: rows of zeros up to its size, and a batch of one where it has batches."""
    if any(isinstance(size, str) for size in spec.shape[-array.ndim :]):  # as many rows as there are
        return array if len(spec.shape) == array.ndim else array[None]
    whole = spec.zeros(1)
    rows = whole if whole.ndim == array.ndim else whole[0]
    rows[: len(array)] = array
    return whole


def _tolerances(bundle: Bundle, model: str, tolerance: Tolerance, precision: str) -> dict[str, float]:
    """The recipe's bounds, as far as they can be said element by element."""
    if tolerance.cosine is not None:
        # Of unit vectors |a − b|² = 2 − 2 cos, and no element is further off than all together.
        return {"embedding": float(np.sqrt(2 - 2 * tolerance.cosine))}
    bounds = {"boxes": PIXELS.get(precision), "scores": tolerance.score, "masks": tolerance.mask}
    return {name: bound for name, bound in bounds.items() if bound is not None and name in bundle.model(model).outputs}
