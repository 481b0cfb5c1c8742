"""`python -m training calibrate`: what a bundle's cosines mean, written into its manifest."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import write_manifest
from mgts_trt.choices import Mode
from mgts_trt.cli.console import notice_untrained, table, warn
from mgts_trt.cli.console import out as console
from mgts_trt.evaluation.likeness import Crops, Likeness, false_matches
from mgts_trt.runtime.modes import MODELS_OF_MODE, held_modes
from training.options import steps

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for them
    from training.data.scene import Scenes

MASKED = "market1501"
"""The set that has masks, and the only one that mode `net` is measured on."""
_SHOWN = (1e-2, 1e-3, 1e-4)


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    root: Annotated[Path, typer.Option(help="The folder that holds market1501 and reid_mix.")],
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Compare the people held out of training with each other, and write into the bundle how alike they look.

    In each mode that the bundle holds, but for joint, whose network reads scenes and not crops; minutes on a CPU. Its
    manifest is sealed again.
    """
    from training.evaluation.measure import embed_scenes

    opened = Bundle.open(bundle)
    sets, curves = held_out_crops(root), {}
    modes = tuple(mode for mode in held_modes(opened.manifest) if mode != "joint")
    with steps() as begin:
        for mode in modes:
            crops = []
            for name, scenes in sets_of_mode(sets, mode):
                on_step = begin(f"describing {name}, {mode}", len(scenes))
                crops.append(Crops(name, *embed_scenes(opened, scenes, mode, on_step=on_step)))
            curves[mode] = false_matches(crops, opened.model(MODELS_OF_MODE[mode][-1]).weights)
    manifest = opened.manifest.model_copy(update={"likeness": curves})
    write_manifest(bundle, manifest)
    print_curves(Bundle.open(bundle), modes)
    notice_untrained(manifest)
    if (bundle / SIGNATURE).exists():
        (bundle / SIGNATURE).unlink()
        warn(f"{bundle} was signed. It is another bundle now, without a signature: sign it again.")


def held_out_crops(root: Path) -> dict[str, "Scenes"]:
    """All crops of people held out of re-ID's training, by set.

    Args:
        root: The folder that holds `market1501` and `reid_mix`.

    Raises:
        DataError: See `market1501_split` and `crop_set_held_out`.
    """
    from training.data.datasets.reid_splits import CROP_SETS, crop_set_held_out
    from training.data.datasets.splits import market1501_split

    market = market1501_split(root / MASKED)[1]
    return {MASKED: market} | {name: crop_set_held_out(root / "reid_mix", name) for name in CROP_SETS}


def sets_of_mode(sets: dict[str, "Scenes"], mode: Mode) -> Iterator[tuple[str, "Scenes"]]:
    """The sets that a mode is measured on: where re-ID sees masks, those that have some."""
    return ((name, scenes) for name, scenes in sets.items() if mode != "net" or name == MASKED)


def print_curves(bundle: Bundle, modes: tuple[Mode, ...]) -> None:
    """A table of the cosines at which different people are as seldom taken for one."""
    rows = table("mode", ">people", ">pairs", *(f">cosine at FAR {far:g}" for far in _SHOWN), ">least FAR")
    for mode in modes:
        if likeness := Likeness.of(bundle, mode):
            cosines = (f"{likeness.cosine(far):.3f}" if far >= likeness.least else "–" for far in _SHOWN)
            rows.add_row(mode, f"{likeness.people:,}", f"{likeness.pairs:,}", *cosines, f"{likeness.least:.2g}")
    console.print(rows)
