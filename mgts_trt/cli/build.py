"""`mgts-trt build`: a bundle's models into TensorRT plans."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import LoweringChoice
from mgts_trt.cli.console import notice_untrained, out, progress, split, table
from mgts_trt.cli.convert import CalibrationOption
from mgts_trt.cli.options import FlavourOption
from mgts_trt.cli.terminal import Records
from mgts_trt.cli.wanted_lowerings import with_lowerings
from mgts_trt.cli.wanted_precisions import DespiteParityOption, with_precisions

if TYPE_CHECKING:
    from mgts_trt.plans.builder.build import BuildResult


def build(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precisions to build, with commas between them; by default all in the bundle, and on a GPU FP16. "
            "What the bundle lacks is made first. auto is what `tune` found the fastest, else FP16."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="portable, current, or compute capabilities like sm_86, with commas between them."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Build this model alone; may be given more than once.")
    ] = None,
    ops: Annotated[
        LoweringChoice,
        typer.Option(
            help="Operators as layers of the graph, kernels between engines, or plugins inside them; auto is what "
            "`tune` found the fastest on this GPU, else the best there is."
        ),
    ] = "auto",
    batch: Annotated[
        int, typer.Option(min=1, help="Most pictures at once; detector and mask net then take any number up to it.")
    ] = 1,
    calibration: CalibrationOption = None,
    despite_parity: DespiteParityOption = False,
    flavour: FlavourOption = None,
    force: Annotated[bool, typer.Option("--force", help="Build plans that are up to date again.")] = False,
) -> None:
    """Build TensorRT plans from a bundle; TensorRT-RTX needs no GPU for it."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.plans.builder.build import BuildEvent, build_bundle
    from mgts_trt.plans.extras import INT8_ON_RTX

    opened, precisions = with_precisions(Bundle.open(bundle), precision, calibration, despite_parity)
    groups = with_lowerings(opened, ops, precisions)
    with progress() as bar:
        task = bar.add_task("preparing", total=None)

        def on_event(event: BuildEvent) -> None:
            what = f"{event.model} {event.precision} {event.target}: {event.phase}".removesuffix(": ")
            bar.update(task, total=event.total, completed=event.index + event.fraction, description=what)

        results = []
        for lowering, those in groups:
            results += build_bundle(
                opened,
                those,
                split(target) if target else None,
                models=model,
                ops=lowering,
                batch=batch,
                force=force,
                on_event=on_event,
            )
    out.print(plan_report(results))
    fresh = sum(result.fresh for result in results)
    if not fresh:
        out.print(f"Nothing to do: all {len(results)} plans are up to date. Build them again with --force.")
    else:
        out.print(f"{fresh} of {len(results)} plans built in {opened.plans}/")
    identities = [result.record.identity for result in results]
    if any((each.flavour, each.precision) == ("tensorrt_rtx", "int8") for each in identities):
        out.print(f"Note: {INT8_ON_RTX}.")
    notice_untrained(opened.manifest)


def plan_report(results: Sequence["BuildResult"]) -> Records:
    """A table for people: one row a plan.

    `operators` says how those of the domain `mgts` are computed; `work` are the MACs of its convolutions and products,
    `done in it` the share of these done in the precision.
    """
    from mgts_trt.bundle.macs import macs_text, percent, share
    from mgts_trt.cli.facts_text import lowering_text

    rows = table("model", "precision", "target", "operators", ">MiB", ">s", ">work", ">done in it", "state")
    for result in results:
        record, identity = result.record, result.record.identity
        rows.add_row(
            identity.model,
            identity.precision,
            identity.target,
            lowering_text(record),
            f"{record.plan_bytes / 2**20:.1f}",
            f"{record.seconds:.1f}",
            macs_text(sum(record.macs.values())),
            "–" if (part := share(record.macs, identity.precision)) is None else percent(part),
            "built" if result.fresh else "up to date",
        )
    return rows
