"""What every part of the benchmark is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from benchmarks.gpu.report import Report
from benchmarks.gpu.timing import Counts, words
from mgts_trt._typing import Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Lowering, Mode
from mgts_trt.errors import MgtsError
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.installed import require_flavour
from mgts_trt.plans.lowering import LOWERINGS, RUNNABLE, choose_lowering, require_plugins
from mgts_trt.runtime.modes import MODELS_OF_MODE
from training.preset import Preset, PresetError, load_preset

Backend = Literal["tensorrt", "onnxruntime"]

BASELINES = ("eager", "channels-last", "compiled", "compiled-graphs", "ort-cuda")
"""What our side is measured against: PyTorch in four forms, and ONNX Runtime's CUDA provider."""

NO_PLUGINS = "operators as plugin"
"""Under which the report notes why they are not measured."""


@dataclass(frozen=True)
class Job:
    """One run of the command.

    Attributes:
        bundle: The bundle, opened.
        image: uint8 [H, W, 3], RGB.
        people: In every picture, whatever the weights: the best detections.
        backend: Whose speed is measured; with `onnxruntime` everything runs on the CPU.
        modes: Of the pipeline.
        precisions: Of those the bundle holds.
        baselines: Of `BASELINES`.
        preset: PyTorch's networks; None means the bundle's.
        pictures: Files and folders for parity.
        counts: How often.
        report: Filled by the parts.
        batches: Numbers of pictures in one run of detector and mask net.
        say: Told what is being done.
    """

    bundle: Bundle
    image: Image
    people: int
    backend: Backend
    modes: tuple[Mode, ...]
    precisions: tuple[str, ...]
    baselines: tuple[str, ...]
    preset: str | None
    pictures: tuple[Path, ...]
    counts: Counts
    report: Report
    batches: tuple[int, ...] = (1,)
    say: Callable[[str], None] = lambda _: None

    @property
    def on_gpu(self) -> bool:
        """Whether PyTorch and the ceilings are the GPU's, too."""
        return self.backend == "tensorrt"

    @cached_property
    def lowerings(self) -> tuple[Lowering, ...]:
        """Of the operators, those that this machine can run; why it cannot run plugins is noted."""
        with self.leave_out(NO_PLUGINS):
            gpus = find_gpus()
            flavour = require_flavour(gpus[0] if gpus else None)
            choose_lowering("plugin", flavour)
            require_plugins(flavour)
            return LOWERINGS
        return RUNNABLE

    @property
    def models(self) -> tuple[str, ...]:
        """Those the modes run, each once."""
        return tuple(dict.fromkeys(model for mode in self.modes for model in MODELS_OF_MODE[mode]))

    def files(self, model: str) -> tuple[str, ...]:
        """The precisions wanted that the bundle holds the model in."""
        held = self.bundle.manifest.models
        return tuple(p for p in self.precisions if model in held and p in held[model].files)

    def precisions_of(self, mode: Mode) -> tuple[str, ...]:
        """The precisions wanted that the bundle holds all models of a mode in."""
        return tuple(p for p in self.precisions if all(p in self.files(model) for model in MODELS_OF_MODE[mode]))

    @cached_property
    def torch_preset(self) -> Preset:
        """The sizes of PyTorch's networks.

        Raises:
            PresetError: There is none of that name, or its canvas or patches are not the bundle's.
        """
        manifest = self.bundle.manifest
        preset = load_preset(self.preset or manifest.preset)
        if (preset.canvas, preset.patch) != (manifest.canvas, manifest.patch):
            raise PresetError(
                f"The preset {preset.name} has the canvas {preset.canvas} and patches of {preset.patch}, the bundle "
                f"{manifest.canvas} and {manifest.patch}. Name the bundle's own with --preset."
            )
        return preset

    @contextmanager
    def leave_out(self, what: str) -> Iterator[None]:
        """Note why a piece cannot be measured, and go on with the rest."""
        try:
            yield
        except Exception as error:  # of any library: on a machine that is lent for minutes, the rest must go on
            kind = "" if isinstance(error, MgtsError) else f"{type(error).__name__}: "
            self.report.left_out[what] = f"{kind}{words(error)}"
