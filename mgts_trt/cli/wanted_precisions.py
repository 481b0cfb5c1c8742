"""Which precisions `mgts-trt build` builds, and converting those that a bundle lacks."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import MODES
from mgts_trt.cli.console import out, split, warn
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle

DespiteParityOption = Annotated[
    bool, typer.Option("--despite-parity", help="Keep a conversion that is beyond its tolerances on the goldens.")
]

AUTO, HALF = "auto", "fp16"


def with_precisions(
    bundle: "Bundle", text: str | None, calibration: Path | None, despite_parity: bool
) -> "tuple[Bundle, tuple[str, ...] | None]":
    """A bundle that holds what is to be built.

    Args:
        bundle: As it is.
        text: What the user wrote: precisions with commas between them, or `auto`; None is all that the bundle holds,
            and FP16 where there is a GPU.
        calibration: Folder of pictures for INT8.
        despite_parity: Keep what is beyond its tolerances.

    Returns:
        The bundle, and the precisions; None: all it holds.

    Raises:
        MgtsError: See `mgts_trt.precisions.add.add_precisions`.
    """
    if text is None:
        return _with_half_for_a_gpu(bundle), None
    asked = (_auto(bundle),) if text.strip() == AUTO else split(text)
    if not asked:
        raise MgtsError(f"No precision is named in {text!r}. Name some of fp32, fp16, int8, or leave --precision out.")
    if AUTO in asked:
        raise MgtsError(f"The precision {AUTO} stands for one of the others. Name it alone, or name the others.")
    return _convert(bundle, asked, calibration, despite_parity), asked


def _auto(bundle: "Bundle") -> str:
    """What `tune` found the fastest of TensorRT here, in any mode; else FP16, which every GPU TensorRT runs on has."""
    from mgts_trt.runtime.session.tuned import FASTEST, recall

    for mode in MODES:
        kept = recall(bundle, mode, FASTEST)
        if kept and kept.backend == "tensorrt":
            out.print(f"The precision auto is {kept.precision}: what `mgts-trt tune` found the fastest in mode {mode}.")
            return kept.precision
    out.print(f"The precision auto is {HALF}: `mgts-trt tune` has not found another one faster on this machine.")
    return HALF


def _with_half_for_a_gpu(bundle: "Bundle") -> "Bundle":
    from mgts_trt.machine.gpus import find_gpus

    if not find_gpus() or all(HALF in model.files for model in bundle.manifest.models.values()):
        return bundle
    try:
        return _convert(bundle, (HALF,), None, False)
    except MgtsError as error:
        warn(f"there are no plans in FP16, which this GPU would run faster: {error}")
        return bundle


def _convert(bundle: "Bundle", precisions: tuple[str, ...], calibration: Path | None, despite_parity: bool) -> "Bundle":
    if not set(precisions) - {"fp32"}:
        return bundle
    lacking = [
        precision
        for precision in precisions
        if any(precision not in model.files for model in bundle.manifest.models.values())
    ]
    if not lacking and not calibration:
        return bundle  # which needs neither the package onnx nor its time
    from mgts_trt.cli.step_bar import step_bar
    from mgts_trt.pictures.folders import find_images
    from mgts_trt.precisions.add import STEPS, Addition, add_precisions

    started, here = time.perf_counter(), False

    def on_step(model: str, step: str) -> None:
        nonlocal here
        here = True
        bar.on_step(model, step)

    with step_bar(STEPS) as bar:
        made = add_precisions(
            Addition(
                bundle,
                precisions,
                find_images(calibration) if calibration else [],
                despite_parity=despite_parity,
                on_step=on_step,
                on_picture=bar.on_picture,
                on_note=warn,
            )
        )
    seconds = time.perf_counter() - started
    for precision in precisions:
        before = {name: model.files.get(precision) for name, model in bundle.manifest.models.items()}
        fresh = [name for name, model in made.manifest.models.items() if model.files.get(precision) != before.get(name)]
        if fresh and here:
            _say(made, precision, fresh, seconds)
        elif fresh:
            out.print(f"Another process has made {precision} in {made.root}.")
    return made


def _say(bundle: "Bundle", precision: str, names: list[str], seconds: float) -> None:
    entries = [bundle.model(name) for name in names]
    size = sum(entry.files[precision].bytes for entry in entries) / 2**20
    verdict = {
        True: "at parity on the goldens, on the CPU",
        False: "NOT at parity on the goldens",
        None: "compared with nothing",
    }
    origin = entries[0].converted.get(precision)
    found = verdict[origin.at_parity if origin else None]
    out.print(f"Made {precision} of {', '.join(names)} in {bundle.root}: {size:.1f} MiB, {seconds:.0f} s, {found}")
