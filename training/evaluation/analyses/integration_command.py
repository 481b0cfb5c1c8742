"""`python -m training analyse integration`: the paper's Table 3, both halves, on every dataset that is there."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import notice_untrained, table
from mgts_trt.cli.console import out as console
from mgts_trt.cli.outputs import JsonOption, write_json
from training.data.files import DataError
from training.evaluation.analyses.commands import BundleArgument, DebugOption, ScenesOption
from training.options import Evaluated, load_held_out, steps

if TYPE_CHECKING:
    from training.evaluation.analyses.integration import Labelled


class Labels(StrEnum):
    """Where people are found and described."""

    ALL = "all"
    COMPOSED = "composed"
    CUHK_SYSU = "cuhk_sysu"
    PRW = "prw"


def integration(
    bundle: BundleArgument,
    root: Annotated[Path, typer.Option(help="The folder that holds the datasets, each under its name.")],
    data: Annotated[Labels, typer.Option(help="One of them, or all that are there.")] = Labels.ALL,
    scenes: ScenesOption = 400,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """One network for both tasks, or one for each (Table 3): detection, and re-ID on ground-truth boxes."""
    from mgts_trt.bundle.bundle import Bundle
    from training.evaluation.analyses import integration as analysis

    opened = Bundle.open(bundle)
    for model in ("joint", "detector", "idnet"):
        opened.model(model)  # said now, not after the work
    results: dict[str, dict[str, dict[str, float]]] = {}
    missing: list[str] = []
    with steps() as begin:

        def composed() -> "Labelled":
            held_out = load_held_out(Evaluated.COMPOSED, root, length=scenes)
            return analysis.composed_people(held_out, on_step=begin("looking for identities", len(held_out)))

        sources: dict[Labels, Callable[[], Labelled]] = {
            Labels.COMPOSED: composed,
            Labels.CUHK_SYSU: lambda: analysis.cuhk_sysu_people(root / "cuhk_sysu"),
            Labels.PRW: lambda: analysis.prw_people(root / "prw"),
        }
        for name, load in sources.items():
            if data not in (Labels.ALL, name):
                continue
            try:
                people = load()
            except DataError as error:
                if data is name:
                    raise
                missing.append(f"{name.value} is not there: {error}")
                continue
            found = analysis.evaluate_integration(opened, people, begin=begin)
            results[name.value] = {
                **{f"detection, {model}": judged.summary() for model, judged in found.detectors.items()},
                **{f"re-ID, {mode}": ranked.summary() for mode, ranked in found.describers.items()},
            }
    _print("Table 3a", "detector", ("AP", "recall"), analysis.DETECTORS, "detection", results, bundle)
    _print("Table 3b", "on true boxes", ("mAP", "top-1"), dict(analysis.DESCRIBERS), "re-ID", results, bundle)
    for line in missing:
        console.print(line)
    notice_untrained(opened.manifest)
    if json_file:
        write_json(json_file, json.dumps({"bundle": str(bundle), "results": results}, indent=2))


_NAMES = {"joint": "joint (OIM)", "detector": "detector alone", "none": "IDNet alone"}


def _print(
    title: str,
    what: str,
    numbers: tuple[str, str],
    paper: Mapping[str, tuple[float, float]],
    kind: str,
    results: dict[str, dict[str, dict[str, float]]],
    bundle: Path,
) -> None:
    headings = [f">{name}" for name in numbers]
    rows = table("on", what, *headings, f">paper: {numbers[0]}", f">{numbers[1]}", title=f"{title}: {bundle}, %")
    for data, measured in results.items():
        for model, theirs in paper.items():
            ours = measured[f"{kind}, {model}"]
            rows.add_row(
                data,
                _NAMES[model],
                *(f"{100 * ours[name]:.1f}" for name in numbers),
                *(f"{number:.1f}" for number in theirs),
            )
    rows.note = "The paper's are of CUHK-SYSU, galleries of 100."
    console.print(rows)
