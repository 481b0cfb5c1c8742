"""`python -m training analyse`: the paper's tables and figures, printed and drawn."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import notice_untrained, parse_modes, table
from mgts_trt.cli.console import out as console
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.errors import MgtsError
from training.options import Evaluated, load_held_out, parse_numbers, pick_device, steps
from training.preset import load_preset

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for PyTorch
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.metrics import RankingResult
    from training.evaluation.analyses.curves import Curves

app = typer.Typer(
    no_args_is_help=True,
    help="Repeat the paper's analyses (Sec. 4.4–4.7) with your own weights, on people that training never saw. Numbers "
    "are percent; the paper's stand beside them, on other data.",
)


class People(StrEnum):
    """Held-out people."""

    COMPOSED = "composed"
    MARKET1501 = "market1501"


class Searched(StrEnum):
    """Where people are searched for."""

    COMPOSED = "composed"
    CUHK_SYSU = "cuhk_sysu"


BundleArgument = Annotated[Path, typer.Argument(help="The bundle's folder.")]
RootOption = Annotated[
    Path, typer.Option(help="The dataset's folder; for composed, the one that holds those it is made of.")
]
ScenesOption = Annotated[int, typer.Option("--scenes", min=1, help="How many scenes composed makes.")]
ModeOption = Annotated[
    str, typer.Option("--mode", help="all, or some of none, net, box, joint with commas between them.")
]
PresetOption = Annotated[str, typer.Option("--preset", help="A preset, or a TOML file: the networks'.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, …")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the figure, a PNG.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command()
def components(
    root: RootOption,
    runs: Annotated[
        Path, typer.Option(help="Folder of the runs, a sub-folder each, named by what the network sees: O, OE, …, OFE.")
    ],
    data: Annotated[People, typer.Option(help="Held-out people. A crop of market1501 has nothing around it.")] = (
        People.COMPOSED
    ),
    preset: PresetOption = "edge",
    scenes: ScenesOption = 400,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """What a network sees, and how well it recognises people by it (Table 4): re-ID on ground-truth boxes."""
    from training.evaluation.analyses import components as analysis

    sizes = load_preset(preset)
    weights = analysis.find_weights(runs)
    results: dict[str, dict[str, float]] = {}
    if any(weights.values()):
        held_out, chosen = load_held_out(Evaluated(data.value), root, length=scenes), pick_device(device)
        with steps() as begin:
            for name, path in weights.items():
                if path is not None:
                    step = begin(f"re-ID, {name}", len(held_out))
                    ranked = analysis.evaluate_components(path, sizes, held_out, name, device=chosen, on_step=step)
                    results[name] = ranked.summary()
    rows = table("sees", *_RANKING, *_PAPER_RANKING, title=f"Table 4: {runs} on held-out people of {data.value}")
    for name in weights:
        rows.add_row(name, *_ranking_cells(results.get(name)), *_paper_cells(analysis.PAPER.get(name)))
    rows.note = "O original, F foreground, B background; E expanded."
    console.print(rows)
    if missing := [name for name, path in weights.items() if path is None]:
        console.print(f"Not trained yet: {', '.join(missing)}. These commands train them:")
        for name in missing:
            line = analysis.training_command(root, runs, data.value, preset, name)
            console.print(line)
    _write(json_file, {"runs": str(runs), "preset": preset, "data": data.value, "results": results})


@app.command()
def gamma(
    bundle: BundleArgument,
    root: RootOption,
    gammas: Annotated[str, typer.Option(help="RoI expand ratios with commas between them.")] = (
        "1.0,1.1,1.2,1.3,1.4,1.5"
    ),
    mode: Annotated[str, typer.Option(help="net, box, or both with a comma between them.")] = "net",
    scenes: ScenesOption = 400,
    out: OutOption = None,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """How much context around the box helps (Table 5): re-ID on ground-truth boxes of composed scenes, by γ.

    The networks of the bundle were trained with one γ; here they see others.
    """
    from mgts_trt.bundle.bundle import Bundle
    from training.evaluation.analyses import gamma as analysis

    opened, modes, ratios = Bundle.open(bundle), _masked_modes(mode), parse_numbers(gammas, least=1)
    _need_matplotlib(out)
    held_out = load_held_out(Evaluated.COMPOSED, root, length=scenes)
    results: dict[str, dict[float, RankingResult]] = {}
    with steps() as begin:
        for chosen in modes:

            def start(value: float, chosen: Mode = chosen) -> Any:
                return begin(f"re-ID, {chosen}, γ = {value:g}", len(held_out))

            results[chosen] = analysis.evaluate_gammas(opened, held_out, chosen, ratios, begin=start)
    rows = table("mode", ">γ", *_RANKING, *_PAPER_RANKING, title=f"Table 5: {bundle} on composed scenes")
    for name, of_mode in results.items():
        for value, ranked in of_mode.items():
            paper = analysis.PAPER.get(value) if name == "net" else None
            rows.add_row(name, f"{value:g}", *_ranking_cells(ranked.summary()), *_paper_cells(paper))
    rows.note = f"The bundle's own γ is {opened.manifest.gamma:g}."
    console.print(rows)
    notice_untrained(opened.manifest)
    summary = _summaries(results)
    _draw_curves(out, "gamma.png", summary, across="γ", title="Re-ID by expand ratio, composed scenes")
    _write(json_file, {"bundle": str(bundle), "data": "composed", "results": _by_text(summary)})


@app.command()
def modes(
    bundle: BundleArgument,
    root: RootOption,
    mode: ModeOption = "all",
    scenes: ScenesOption = 400,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """What the mask is worth and what it costs (Table 6): person search over composed scenes.

    Each identity is searched for once, by its first appearance, in all other scenes.
    """
    from mgts_trt.evaluation.bench import PAPER_DEVICE, PAPER_SECONDS
    from mgts_trt.machine.cpu import cpu_name
    from training.evaluation.analyses import modes as analysis
    from training.evaluation.analyses.search import search_scenes
    from training.evaluation.measure import picture_count

    opened, chosen = _open(bundle, mode)
    held_out = load_held_out(Evaluated.COMPOSED, root, length=scenes)
    with steps() as begin:
        search = search_scenes(held_out, on_step=begin("looking for identities", len(held_out)))
        total = picture_count(search.queries)
        results = {
            name: analysis.evaluate_mode(opened, search, name, on_step=begin(f"searching, mode {name}", total))
            for name in chosen
        }
    rows = table("mode", *_RANKING, ">s", *_PAPER_RANKING, ">s", title=f"Table 6: {bundle} on composed scenes")
    for name, result in results.items():
        rows.add_row(
            name,
            *_ranking_cells(result.ranking.summary()),
            f"{result.seconds:.2f}",
            *_paper_cells(analysis.PAPER.get(name)),
            f"{PAPER_SECONDS[name]:.2f}" if name in PAPER_SECONDS else "",
        )
    last = next(reversed(results.values()))
    machine = f"{last.runtime.backend} on {last.runtime.device} ({cpu_name()})"
    rows.note = (
        f"{last.ranking.counted} queries, {last.pictures} pictures. s: mean runtime of a picture,\n"
        f"decoding excluded; here {machine},\nin the paper a {PAPER_DEVICE}."
    )
    console.print(rows)
    notice_untrained(opened.manifest)
    numbers = {name: {**result.ranking.summary(), "seconds": result.seconds} for name, result in results.items()}
    _write(json_file, {"bundle": str(bundle), "data": "composed", "machine": machine, "results": numbers})


@app.command()
def gallery(
    bundle: BundleArgument,
    root: RootOption,
    data: Annotated[Searched, typer.Option(help="Where people are searched for.")] = Searched.COMPOSED,
    sizes: Annotated[
        str | None, typer.Option(help="Images a gallery, with commas; by default 50,100,200,400 or the published.")
    ] = None,
    mode: ModeOption = "all",
    scenes: ScenesOption = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of composed's galleries.")] = 0,
    out: OutOption = None,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """Person search in ever larger galleries (Fig. 5); cuhk_sysu takes its published galleries."""
    from training.data.protocols import GALLERY_SIZES
    from training.evaluation.analyses import gallery as analysis
    from training.evaluation.analyses.search import sample_galleries, search_scenes
    from training.evaluation.measure import picture_count

    opened, chosen = _open(bundle, mode)
    published = ",".join(map(str, GALLERY_SIZES))
    default = published if data is Searched.CUHK_SYSU else "50,100,200,400"
    wanted = [int(size) for size in parse_numbers(sizes or default, least=1)]
    _need_matplotlib(out)
    results: dict[str, dict[int, RankingResult]] = {}
    with steps() as begin:
        if data is Searched.CUHK_SYSU:
            queries, picture = analysis.cuhk_sysu_galleries(root, wanted)
        else:
            held_out = load_held_out(Evaluated.COMPOSED, root, length=scenes)
            everyone, picture = search_scenes(held_out, on_step=begin("looking for identities", len(held_out)))
            queries = {size: sample_galleries(everyone, size, seed=seed) for size in wanted}
        total = picture_count(query for group in queries.values() for query in group)
        for searched in chosen:
            step = begin(f"searching, mode {searched}", total)
            results[searched] = analysis.evaluate_galleries(opened, picture, queries, searched, on_step=step)
    rows = table("mode", ">gallery", *_RANKING, title=f"Fig. 5: {bundle} on {data.value}")
    for name, of_mode in results.items():
        for size, ranked in of_mode.items():
            rows.add_row(name, str(size), *_ranking_cells(ranked.summary()), end_section=size == wanted[-1])
    console.print(rows)
    notice_untrained(opened.manifest)
    summary = _summaries(results)
    _draw_curves(out, "gallery.png", summary, across="gallery size", title=f"Person search, {data.value}")
    _write(json_file, {"bundle": str(bundle), "data": data.value, "results": _by_text(summary)})


@app.command()
def se(
    checkpoints: Annotated[list[Path], typer.Argument(help="Weights of MGTS: mgts.safetensors of runs.")],
    root: RootOption,
    data: Annotated[People, typer.Option(help="Held-out people.")] = People.COMPOSED,
    mode: Annotated[str, typer.Option(help="net or box: where the masks come from.")] = "net",
    preset: PresetOption = "edge",
    scenes: ScenesOption = 400,
    device: DeviceOption = "auto",
    out: OutOption = None,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """Which stream the SE block listens to (Fig. 6): its weights over held-out people."""
    from training.evaluation.analyses import se as analysis

    sizes, chosen, where = load_preset(preset), pick_device(device), _masked_modes(mode)
    if len(where) != 1:
        raise MgtsError(f"One mode expected, net or box, got {mode!r}.")
    _need_matplotlib(out)
    held_out = load_held_out(Evaluated(data.value), root, length=scenes)
    statistics = {}
    with steps() as begin:
        for path in checkpoints:
            step = begin(f"{path}", len(held_out))
            statistics[str(path)] = analysis.inspect_weights(
                path, sizes, held_out, mode=where[0], device=chosen, on_step=step
            )
    rows = table(
        "weights", ">people", ">Avg(F)", ">Avg(O)", ">Avg(F) > Avg(O)", ">N20(F)", title=f"Fig. 6: {data.value}, {mode}"
    )
    results = {name: values.summary() for name, values in statistics.items()}
    for name, numbers in results.items():
        share = numbers["Avg(F) > Avg(O)"]
        cells = (f"{numbers['Avg(F)']:.3f}", f"{numbers['Avg(O)']:.3f}", f"{share:.1%}", f"{numbers['N20(F)']:.1f}")
        rows.add_row(name, str(numbers["people"]), *cells)
    rows.note = "Means over people. The paper: Avg(F) > Avg(O) for all, N20(F) mostly 10 to 13."
    console.print(rows)
    if out is not None:
        from mgts_trt.pictures.figures import save_figure

        console.print(str(save_figure(analysis.draw_statistics(statistics), out / "se.png")))
    histograms = {name: {**results[name], "histogram": values.histogram} for name, values in statistics.items()}
    _write(json_file, {"data": data.value, "mode": mode, "results": histograms})


@app.command()
def scores(
    bundle: BundleArgument,
    root: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    out: OutOption = None,
    json_file: JsonOption = None,
    debug: DebugOption = False,
) -> None:
    """What the detector's scores mean on held-out photographs: precision and recall, a threshold, and calibration."""
    from mgts_trt.bundle.bundle import Bundle
    from training.evaluation.analyses import scores as analysis
    from training.evaluation.detector import bundled_detector, judge

    opened = Bundle.open(bundle)
    _need_matplotlib(out)
    threshold, detect = opened.manifest.thresholds.detection, bundled_detector(opened)
    held_out = {data: load_held_out(data, root / data.value, length=1) for data in analysis.SETS}
    with steps() as begin:
        found = {
            data.value: judge(detect, scenes, on_step=begin(data.value, len(scenes)))
            for data, scenes in held_out.items()
        }
    rows = table("held out", *_SHOWN, title=f"{bundle}, shown from {threshold:g} on")
    results = {name: judged.result(threshold).summary() for name, judged in found.items()}
    for name, numbers in results.items():
        rows.add_row(name, *(f"{numbers[heading[1:]]:.3f}" if heading[1:] in numbers else "" for heading in _SHOWN))
    console.print(rows)
    proposed = analysis.propose_threshold(found[analysis.SETS[0].value], found[analysis.SETS[1].value])
    console.print(
        f"The smallest threshold with a precision of {analysis.PRECISION:.2f} on {analysis.SETS[0].value} and at most "
        f"{analysis.FALSE_PEOPLE:.2f} false people a picture: {'none' if proposed is None else f'{proposed:.2f}'}."
    )
    fits = analysis.fit_calibration(list(found.values()))
    for name, fit in fits.items():
        console.print(f"Expected calibration error, {name}: {fit.error:.3f}.")
    if out is not None:
        from mgts_trt.pictures.figures import save_figure

        figure = analysis.draw_scores(found, threshold, fits, title="The detector on held-out photographs")
        console.print(str(save_figure(figure, out / "scores.png")))
    counts = {name: {"pictures": len(each.empty), "people": each.people_labelled} for name, each in found.items()}
    _write(
        json_file,
        {
            "bundle": str(bundle),
            "threshold": threshold,
            "proposed threshold": proposed,
            "results": {name: {**counts[name], **numbers} for name, numbers in results.items()},
            "calibration error": {name: fit.error for name, fit in fits.items()},
            "curves": {name: analysis.sampled_curve(each) for name, each in found.items()},
        },
    )


_SHOWN = (">AP", ">recall", ">shown precision", ">shown recall", ">false people")
_RANKING = (">mAP", ">top-1", ">top-5", ">top-10")
_PAPER_RANKING = (">paper: mAP", ">top-1")


def _ranking_cells(numbers: "dict[str, float] | None") -> list[str]:
    names = [heading.removeprefix(">") for heading in _RANKING]
    return [""] * len(names) if numbers is None else [f"{100 * numbers[name]:.1f}" for name in names]


def _paper_cells(numbers: tuple[float, float] | None) -> list[str]:
    return ["", ""] if numbers is None else [f"{number:.1f}" for number in numbers]


def _summaries(results: "dict[str, dict[Any, RankingResult]]") -> "Curves":
    return {name: [(place, ranked.summary()) for place, ranked in row.items()] for name, row in results.items()}


def _by_text(curves: "Curves") -> dict[str, Any]:
    return {name: {f"{place:g}": numbers for place, numbers in points} for name, points in curves.items()}


def _masked_modes(text: str) -> tuple[Mode, ...]:
    modes = parse_modes(text)
    if not {"net", "box"}.issuperset(modes):
        raise MgtsError(f"The mode {text!r} was asked for, but only net and box look at masks. Ask for those.")
    return modes


def _open(path: Path, mode: str) -> "tuple[Bundle, tuple[Mode, ...]]":
    """A bundle, and the modes asked for; `all` are those it has."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.runtime.modes import held_modes

    opened = Bundle.open(path)
    return opened, parse_modes(mode, held_modes(opened.manifest))


def _need_matplotlib(out: Path | None) -> None:
    """Fail before the work, not after."""
    if out is not None:
        from mgts_trt.pictures.figures import new_figure

        new_figure(1, 1)


def _draw_curves(out: Path | None, name: str, curves: "Curves", *, across: str, title: str) -> None:
    if out is not None:
        from mgts_trt.pictures.figures import save_figure
        from training.evaluation.analyses.curves import draw_curves

        console.print(str(save_figure(draw_curves(curves, across=across, title=title), out / name)))


def _write(file: Path | None, report: dict[str, Any]) -> None:
    if file is not None:
        write_json(file, json.dumps(report, indent=2))
