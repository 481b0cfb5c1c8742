"""How `mgts-trt build` computes the operators where nobody says: as `mgts-trt tune` found fastest here."""

from typing import TYPE_CHECKING

from mgts_trt.choices import LoweringChoice
from mgts_trt.cli.console import out, warn

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle


def with_lowerings(
    bundle: "Bundle", ops: LoweringChoice, precisions: tuple[str, ...] | None
) -> list[tuple[LoweringChoice, tuple[str, ...] | None]]:
    """What to build in which lowering.

    Args:
        bundle: With all that is to be built.
        ops: What was asked for; `auto` is what was measured, and stays `auto` where nothing was.
        precisions: To build; None for all the bundle holds.

    Returns:
        Lowerings, each with precisions as above.
    """
    if ops != "auto":
        return [(ops, precisions)]
    from mgts_trt.runtime.session.tuned_lowering import recall_lowering

    chosen: dict[LoweringChoice, tuple[str, ...]] = {}
    for precision in precisions or dict.fromkeys(p for model in bundle.manifest.models.values() for p in model.files):
        kept, why_not = recall_lowering(bundle, precision)
        if why_not:
            warn(why_not)
        if kept:
            out.print(f"Operators in {precision} are built as {kept}: what `mgts-trt tune` found the fastest here.")
        chosen[kept or ops] = (*chosen.get(kept or ops, ()), precision)
    return list(chosen.items()) if len(chosen) > 1 else [(next(iter(chosen), ops), precisions)]
