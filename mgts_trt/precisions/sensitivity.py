"""Which layers suffer in INT8: quantise one block at a time, and look how much of what FP32 finds is still found."""

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import model_file
from mgts_trt.bundle.onnx_graph import read_graph
from mgts_trt.bundle.recipe import Precision, load_recipe
from mgts_trt.errors import PrecisionError
from mgts_trt.pictures.figures import new_figure, save_figure
from mgts_trt.precisions.agreement import agreement
from mgts_trt.precisions.calibration import METHODS
from mgts_trt.precisions.calibration_set import OnNote, read_calibration
from mgts_trt.precisions.convert import record_detections
from mgts_trt.precisions.half import simulate_rounding
from mgts_trt.precisions.int8 import match_layers
from mgts_trt.precisions.lower_precision import Quantiser, write_half
from mgts_trt.precisions.onnx_file import open_session, save_checked
from mgts_trt.precisions.recording import model_inputs

LIKE = 0.002
"""Agreements that differ by less are taken for equal: then more is quantised."""

OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One form of a model.

    Attributes:
        what: What is quantised in it.
        layers: These layers.
        share: Of the model's MACs, in INT8, 0…1.
        agreement: With FP32; see `mgts_trt.precisions.agreement`.
    """

    what: str
    layers: tuple[str, ...]
    share: float
    agreement: float


@dataclass(frozen=True)
class Study:
    """What was found about one model.

    Attributes:
        model: Its name.
        half: Agreement of FP16 with FP32: nothing quantised.
        whole: Everything quantised, calibrated in each way.
        single: Each block alone, the worst first.
        mixed: Everything but the worst block, but the two worst, and so on.
        advice: For the recipe.
    """

    model: str
    half: float
    whole: tuple[Row, ...]
    single: tuple[Row, ...]
    mixed: tuple[Row, ...]
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return asdict(self)


def study(bundle: Bundle, name: str, pictures: Sequence[Path], *, by: str, on_step: OnStep, on_note: OnNote) -> Study:
    """Measure one model in many forms.

    Args:
        bundle: With FP32 files.
        name: Of the model.
        pictures: Every other one sets scales, the others are compared on.
        by: `block` or `layer`: what is quantised at a time.
        on_step: Called with what is being done, steps done, and steps in all.
        on_note: Called with a sentence for each thing the user should know.

    Raises:
        PrecisionError: `by` is something else, or fewer than two pictures can be read.
        MetricError: FP32 finds nobody in the pictures compared on.
    """
    if by not in ("block", "layer"):
        raise PrecisionError(f"One block or one layer can be quantised at a time, not one {by!r}.")
    manifest = bundle.manifest
    recordings, _ = read_calibration(pictures, manifest, on_note)
    if len(recordings) < 2:
        raise PrecisionError(f"A study needs two pictures or more, got {len(recordings)}: half of them to compare on.")
    on_step("looking for people", 0, 1)
    record_detections(bundle, recordings)
    samples = [model_inputs(item, manifest, bundle.model(name).inputs) for item in recordings]
    thresholds = manifest.thresholds
    least_score = thresholds.instance if name == "masknet" else thresholds.detection
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        shutil.copyfile(bundle.model_path(name, "fp32"), root / model_file(name, "fp32"))
        on_step(f"{name}: measuring ranges", 0, 1)
        write_half(name, root, bundle.model(name), samples, [item.name for item in recordings], lambda step: None)
        forms = _Forms(name, root, samples[1::2], least_score)
        on_step(f"{name}: calibrating", 0, 1)
        forms.quantiser.calibrate(samples[::2])
        return _study(forms, by, on_step)


class _Forms:
    """A model in any mixture of FP16 and INT8, measured."""

    def __init__(self, name: str, root: Path, samples: Sequence[Mapping[str, Any]], least_score: float) -> None:
        self.name, self._samples, self._least_score, self._root = name, samples, least_score, root
        half = root / model_file(name, "fp16")
        self.quantiser = Quantiser(root / model_file(name, "fp32"), half)
        profile = {size: bounds.opt for size, bounds in load_recipe(name).profile.items()}
        work = read_graph(half, profile).workload
        self._total = work.total
        macs = {item.name: item.macs for item in work.layers}
        self.macs: dict[str, int] = {}
        for node, layer in self.quantiser.layers.items():
            self.macs[layer] = self.macs.get(layer, 0) + macs.get(node, 0)
        self._reference = self._run((root / model_file(name, "fp32")).read_bytes())
        self.half = self._agreement(onnx.load(half))

    def share(self, layers: Sequence[str]) -> float:
        return sum(self.macs[layer] for layer in layers) / self._total

    def row(self, what: str, layers: Sequence[str], how: Precision) -> Row:
        path = self._root / "form.onnx"
        save_checked(self.quantiser.quantise(how, set(layers)), path)
        found = self._agreement(onnx.load(path))
        return Row(what, tuple(layers), self.share(layers), found)

    def _agreement(self, model: onnx.ModelProto) -> float:
        return agreement(self._reference, self._run(simulate_rounding(model).SerializeToString()), self._least_score)

    def _run(self, model: bytes) -> list[dict[str, Any]]:
        session = open_session(model)
        names = [output.name for output in session.get_outputs()]
        runs = [dict(zip(names, session.run(names, dict(inputs)), strict=True)) for inputs in self._samples]
        if "embedding" in names:
            return runs
        return [{name: array[0] for name, array in run.items()} for run in runs]  # a sample is one picture


def _study(forms: _Forms, by: str, on_step: OnStep) -> Study:
    recipe = load_recipe(forms.name).of("int8")
    everything = tuple(forms.macs)
    blocks = group(everything, by)
    steps, done = 2 * len(METHODS) + len(blocks), 0

    def measure(what: str, layers: Sequence[str], how: Precision) -> Row:
        nonlocal done
        on_step(f"{forms.name}: {what}", done, steps)
        done += 1
        return forms.row(what, layers, how)

    ways = [
        recipe.model_copy(update={"calibration": method, "residuals": residuals})
        for method in METHODS
        for residuals in (False, True)
    ]
    whole = [measure(f"everything, {way.calibration}{', residuals' * way.residuals}", everything, way) for way in ways]
    best = max(row.agreement for row in whole)
    how = max(
        (how for how, row in zip(ways, whole, strict=True) if row.agreement >= best - LIKE),
        key=lambda how: how.residuals,
    )
    single = sorted((measure(block, layers, how) for block, layers in blocks.items()), key=lambda row: row.agreement)
    # Keep the worst blocks, one after another, as long as enough is left.
    least = load_recipe(forms.name).min_share("int8")
    mixed, kept = [whole[ways.index(how)]], list[str]()
    for row in single:
        rest = [layer for layer in everything if layer not in {*row.layers, *kept}]
        if row.agreement >= forms.half - LIKE:
            break
        if forms.share(rest) >= least:
            kept += row.layers
            steps += 1
            mixed.append(measure(f"{'all but' if len(mixed) == 1 else '  and'} {row.what}", rest, how))
    most = max(row.agreement for row in mixed)
    chosen = next(row for row in mixed if row.agreement >= most - LIKE)
    keep = patterns([layer for layer in everything if layer not in chosen.layers], everything)
    advice = f'calibration = "{how.calibration}", residuals = {str(how.residuals).lower()}, keep = {keep}'
    return Study(forms.name, forms.half, tuple(whole), tuple(single), tuple(mixed[1:]), advice.replace("'", '"'))


def group(layers: Sequence[str], by: str) -> dict[str, list[str]]:
    """Block → its layers: those of one numbered module, or of one named part of a network."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(_block(layer) if by == "block" else layer, []).append(layer)
    return groups


def _block(layer: str) -> str:
    name = re.sub(r"(\.\d+)+$", "", layer)
    parent = name.rpartition(".")[0]
    if not parent:
        return layer
    return parent if name == layer or parent.rpartition(".")[2].isdecimal() else name


def patterns(layers: Sequence[str], everything: Sequence[str]) -> list[str]:
    """The layers as a recipe names them, `block.*` where a whole block is meant."""
    found = []
    for block, members in group(layers, "block").items():
        whole = f"{block}.*"
        found += [whole] if match_layers(everything, [whole]) == set(members) and len(members) > 1 else members
    return found


def draw(studies: Sequence[Study], path: Path) -> None:
    """Draw what each block costs alone, one panel a model.

    Raises:
        MgtsError: matplotlib is missing, or the file cannot be written.
    """
    figure = new_figure(6 * len(studies), 1.2 + 0.22 * max(len(found.single) for found in studies))
    for i, found in enumerate(studies):
        axes = figure.add_subplot(1, len(studies), i + 1)
        rows = found.single[::-1]
        axes.barh([row.what for row in rows], [found.half - row.agreement for row in rows])
        axes.set_title(found.model)
        axes.set_xlabel("agreement with FP32 lost where this alone is INT8")
        axes.tick_params(axis="y", labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)
