"""The report as Markdown: every number with what it is compared to beside it."""

from collections.abc import Iterable, Sequence
from typing import get_args

from benchmarks.gpu.published import TIMES_AS_FAST, aim
from benchmarks.gpu.report import Floors, Group, Latency, ModeFloor, NetworkFloor, OperatorFloor, Report, SideResult
from mgts_trt.choices import Lowering

EAGER = "PyTorch eager"

_LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)


def markdown(report: Report) -> str:
    """The whole report, with a section for each part that was run."""
    sections = [
        _head(report),
        floors(report.floors),
        _plans(report),
        _lowerings(report),
        _groups("The whole pipeline", "mode", report.pipeline),
        _at_once(report),
        _groups("Networks alone", "network", report.networks),
        _roofline(report),
        _kernels(report),
        _operators(report),
        _soak(report),
        _parity(report),
        _left_out(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: Report) -> str:
    where = report.environment
    height, width = report.canvas
    weights = "" if report.trained else ", untrained weights"
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    clocks = ", ".join(f"{name} {value}" for name, value in where.clocks_mhz.items())
    lines = [
        f"# {report.preset} on {report.device}",
        "",
        f"- {report.people} people on a {height}×{width} canvas{weights}; picture {report.image_hw[0]}×"
        f"{report.image_hw[1]} ({report.image}). Upload included, decoding not.",
        f"- {where.date}, commit {where.commit[:12] or 'unknown'}{'+' if where.commit.endswith('+') else ''}"
        f"{', quick: too few runs to quote' if report.quick else ''}",
        f"- GPU {where.gpu or 'none'}, driver {where.driver or '–'}, CUDA {where.cuda or '–'}; clocks in MHz: "
        f"{clocks or 'not readable'}",
        f"- {where.cpu}, {where.cores} cores, {where.platform}, Python {where.python}",
        f"- {versions}",
    ]
    lines += [f"- **Failed:** {failure}" for failure in report.failures]
    return "\n".join(lines)


def floors(counted: Floors | None) -> str:
    """What no implementation can go below, GPU by GPU."""
    if counted is None:
        return ""
    names = list(counted.gpus)
    gpus = _table(
        ("GPU", *(f">TFLOP/s in {name}" for name in ("fp16", "int8", "fp32")), ">GB/s", "source"),
        [
            (
                name,
                *(_number(gpu.tflops.get(kind)) for kind in ("fp16", "int8", "fp32")),
                _number(gpu.copy_gbs),
                gpu.how,
            )
            for name, gpu in counted.gpus.items()
        ],
    )
    modes = _table(
        ("mode", "precision", *(f">{name}, ms" for name in names), "aimed at, the whole pipeline"),
        [
            (
                each.mode, _supposed(each), *(_number(each.floor_ms[name]) for name in names),
                ", ".join(f"≤ {ms:g} ms on {name}" for name, ms in each.aim_ms.items()) or "–",
            )
            for each in counted.modes
        ],
    )  # fmt: skip
    networks = _table(
        ("network", "precision", ">GMAC", ">MB", *(f">{name}, ms" for name in names)),
        [
            (
                each.network, _supposed(each), _number(each.gmac), _number(each.model_mb),
                *(_number(each.floor_ms[name]) for name in names),
            )
            for each in counted.networks
        ],
    )  # fmt: skip
    operators = _table(
        ("network", "precision", "operator", "on", ">kB read", ">kB written", ">MFLOP", *(f">{x}, µs" for x in names)),
        [
            (
                each.network, _supposed(each), each.operator, each.work, _number(each.read_kb),
                _number(each.written_kb), _number(each.mflop), *(_number(each.floor_us[name]) for name in names),
            )
            for each in counted.operators
        ],
    )  # fmt: skip
    meaning = (
        f"{counted.people} people. All arithmetic at the published peak, or inputs, weights and outputs once at the "
        "published bandwidth, whichever takes longer; of a mode, the networks' sum. *: the bundle does not hold it in "
        "this precision; counted as if all products, weights and maps were in it."
    )
    sections = ["## Floors by published numbers", meaning, gpus, modes, networks]
    return "\n\n".join([*sections, operators] if counted.operators else sections)


def _supposed(each: ModeFloor | NetworkFloor | OperatorFloor) -> str:
    return f"{each.precision} *" if each.supposed else each.precision


def _plans(report: Report) -> str:
    if not report.plans:
        return ""
    body = [
        (
            trial.model, trial.precision, trial.target, trial.lowering, str(trial.batch), trial.flavour, trial.reached,
            ", ".join(f"{step} {_number(ms)} ms" for step, ms in trial.milliseconds.items()), _cell(trial.message),
        )
        for trial in report.plans
    ]  # fmt: skip
    headings = ("network", "precision", "target", "operators", ">pictures", "built by", "reached", "took", "stopped by")
    table = _table(headings, body)
    logs = [
        f"{trial.model} {trial.precision} {trial.target} {trial.lowering}, TensorRT's words:\n\n"
        + "\n".join(f"    {x}" for x in lines)
        for trial in report.plans
        if trial.message and (lines := [line for entry in trial.log for line in entry.splitlines()])
    ]
    return "\n\n".join(["## Do plans load and run on this GPU?", table, *logs])


def _lowerings(report: Report) -> str:
    """What each lowering takes, side by side, from the parts `pipeline` and `networks`."""
    body = [
        (
            what + group.what, group.precision, "yes" if graphs else "no", *(_lowered(each.get(x)) for x in _LOWERINGS),
            _aims(report, group, each.values()) if what == "mode " else "–",
        )
        for what, groups in (("mode ", report.pipeline), ("", report.networks))
        for group in groups
        for graphs in (False, True)
        if len(each := {side.lowering: side for side in group.sides if side.lowering and side.graphs is graphs}) > 1
    ]  # fmt: skip
    if not body:
        return ""
    headings = ("what", "precision", "CUDA graphs", *(f">operators as {name}" for name in _LOWERINGS), "aimed at")
    meaning = (
        f"On {report.device}: p50 in ms, measured in turns; in brackets, times as fast as with the operators as layers "
        "of the graph, the median of the rounds."
    )
    return "\n\n".join(["## Lowerings side by side", meaning, _table(headings, body)])


def _at_once(report: Report) -> str:
    """What a picture takes where detector and mask net run on several at once."""
    sizes = sorted({size for group in report.pipeline for side in group.sides for size in side.at_once})
    body = [
        (group.what, group.precision, side.label, *(_share(side.at_once.get(size)) for size in sizes))
        for group in report.pipeline
        for side in group.sides
        if side.at_once
    ]
    if not body:
        return ""
    meaning = "A picture's share of the p50 in ms, measured in turns; in brackets, pictures a second."
    headings = ("mode", "precision", "side", *(f">{size} at once" for size in sizes))
    return "\n\n".join(["## Pictures at once", meaning, _table(headings, body)])


def _share(latency: Latency | None) -> str:
    return "–" if latency is None else f"{_number(latency.p50)} ({_number(1e3 / latency.p50)}/s)"


def _lowered(side: SideResult | None) -> str:
    if side is None or side.latency is None:
        return "–"
    ratio = "" if side.over_graph is None or side.lowering == "graph" else f" ({side.over_graph:.2f} ×)"
    return f"{_number(side.latency.p50)}{ratio}"


def _aims(report: Report, group: Group, sides: Iterable[SideResult]) -> str:
    """What is aimed at here, and whether the fastest of some sides meets it; few runs prove nothing."""
    wanted = aim(report.preset, group.what, group.precision, report.device)
    times = [side.latency.p50 for side in sides if side.latency is not None]
    if wanted is None or not times:
        return "–"

    def verdict(met: bool) -> str:
        return "" if report.quick else ": met" if met else ": **missed**"

    aims = [f"≤ {wanted:g} ms{verdict(min(times) <= wanted)}"]
    for name, least in TIMES_AS_FAST.items():
        theirs = [side.latency.p50 for side in group.sides if side.label.startswith(name) and side.latency is not None]
        if theirs:
            ratio = min(theirs) / min(times)
            aims.append(f"≥ {least:g} × {name}: {ratio:.2f}{verdict(ratio >= least)}")
    return "; ".join(aims)


def _groups(title: str, what: str, groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    parts = [f"## {title}", "Each table was measured in turns. ×: times as fast as PyTorch eager, by p50."]
    for group in groups:
        baseline = next((side.label for side in group.sides if side.label.startswith(EAGER)), "")
        depths = sorted({depth for side in group.sides for depth in side.images_per_second})
        headings = ["side", ">p50 ms", ">p90 ms", ">p99 ms", ">×"]
        headings += [f">images/s, {depth} in flight" for depth in depths]
        body = [_side(group, side, baseline, depths) for side in group.sides]
        parts += [f"### {what} {group.what}, {group.precision}, {group.people} people", _table(headings, body)]
        if stages := _stages(group):
            parts.append(stages)
        if notes := [f"- {side.label}: {note}" for side in group.sides for note in side.notes]:
            parts.append("\n".join(notes))
    return "\n\n".join(parts)


def _side(group: Group, side: SideResult, baseline: str, depths: Iterable[int]) -> tuple[str, ...]:
    if side.latency is None:
        return (side.label, _cell(side.error or "not measured"))
    ratio = group.ratio(side, baseline)
    numbers = [_number(value) for value in (side.latency.p50, side.latency.p90, side.latency.p99)]
    rates = [_number(side.images_per_second.get(depth)) for depth in depths]
    return (side.label, *numbers, f"{ratio:.2f}" if ratio else "–", *rates)


def _stages(group: Group) -> str:
    """p50 by stage, of the sides that say what their stages take."""
    names = list(dict.fromkeys(name for side in group.sides for name in side.stages))
    if not names:
        return ""
    body = [
        (side.label, *(_number(side.stages[name].p50 if name in side.stages else None) for name in names))
        for side in group.sides
        if side.stages
    ]
    return _table(("p50 ms by stage", *(f">{name}" for name in names)), body)


def _roofline(report: Report) -> str:
    if report.ceilings is None:
        return ""
    peaks = ", ".join(f"{value:.3g} TFLOP/s in {name}" for name, value in report.ceilings.tflops.items())
    ceilings = f"Ceilings of this run: {peaks}; copy {report.ceilings.copy_gbs:.3g} GB/s ({report.ceilings.how})."
    meaning = (
        "Floor: all arithmetic at the ceilings, or inputs, weights and outputs of the whole network once, whichever "
        "takes longer. Layer by layer: the same for each layer on its own, summed: what a runtime without fusion "
        "cannot go below."
    )
    body = [
        (
            row.model, row.precision, row.side, _number(row.gflop), _number(row.model_mb), _number(row.layers_mb),
            _number(row.floor_ms), row.bound, _number(row.unfused_ms), _number(row.measured_ms),
            f"{row.over_floor:.2f}", f"{row.measured_ms / row.unfused_ms:.2f}",
        )
        for row in report.roofline
    ]  # fmt: skip
    headings = (
        "network", "precision", "side", ">GFLOP", ">MB", ">MB, all layers", ">floor ms", "bound by",
        ">layer by layer ms", ">measured ms", ">÷ floor", ">÷ layer by layer",
    )  # fmt: skip
    return "\n\n".join(["## Roofline", ceilings, meaning, _table(headings, body)])


def _kernels(report: Report) -> str:
    if not report.kernels:
        return ""
    body = [
        (row.kernel, row.work, _number(row.kilobytes), _cell(row.error))
        if row.error
        else (
            row.kernel, row.work, _number(row.kilobytes), _number(row.microseconds), _number(row.copy_microseconds),
            f"{row.share:.0%}",
        )
        for row in report.kernels
    ]  # fmt: skip
    headings = ("kernel", "work", ">kB", ">µs", ">a copy of as many bytes, µs", ">share of its bandwidth")
    return "\n\n".join(["## Kernels alone", _table(headings, body)])


def _operators(report: Report) -> str:
    if not report.operators:
        return ""
    forms = ("copy", "kernel", "graph", "plugin")
    body = [
        (
            row.network, row.precision, row.operator, row.work, _number(row.read_kb), _number(row.written_kb),
            _number(row.mflop), _number(row.floor_us), *(_number(row.microseconds.get(form)) for form in forms),
            *(_number(row.ratio(*pair)) for pair in (("kernel", "floor"), ("kernel", "copy"), ("graph", "kernel"))),
        )
        for row in report.operators
    ]  # fmt: skip
    headings = (
        "network", "precision", "operator", "on", ">kB read", ">kB written", ">MFLOP", ">floor µs", ">copy µs",
        ">kernel µs", ">graph µs", ">plugin µs", ">kernel ÷ floor", ">kernel ÷ copy", ">graph ÷ kernel",
    )  # fmt: skip
    meaning = (
        f"On {report.device}. Floor: bytes or arithmetic by the ceilings of this run. What lies in a cache may come "
        "below it; nothing comes below what a launch takes, as the copy of as many bytes shows. Graph, plugin: the "
        "operator as a TensorRT engine of its own."
    )
    notes = [
        f"- {row.operator} of {row.network} in {row.precision} as {form}: {error}"
        for row in report.operators
        for form, error in row.errors.items()
    ]
    sections = ["## Operators alone", meaning, _table(headings, body)]
    return "\n\n".join([*sections, "\n".join(notes)] if notes else sections)


def _soak(report: Report) -> str:
    if not report.soak:
        return ""
    body = [
        (
            row.mode, row.precision, str(row.depth), f"{row.images:,}", f"{row.images / row.seconds:.1f}",
            _number(row.first.p50), _number(row.last.p50), f"{row.drift:.3f}", _number(row.growth_mib),
            {True: "yes", False: "**no**", None: "not readable"}[row.flat],
        )
        for row in report.soak
    ]  # fmt: skip
    headings = (
        "mode", "precision", ">in flight", ">pictures", ">images/s", ">p50 ms, first tenth", ">p50 ms, last tenth",
        ">drift", ">device memory, MiB more", "flat",
    )  # fmt: skip
    return "\n\n".join(["## Soak", _table(headings, body)])


def _parity(report: Report) -> str:
    if not report.parity:
        return ""
    verdicts = {True: "ok", False: "**failed**", None: "shown only"}
    body = [
        (
            row.mode, row.precision, row.lowering or "–", str(row.pictures), str(row.people), f"{row.boxes_share:.1%}",
            f"{row.worst_iou:.4f}", f"{row.cosine_share:.1%}", f"{row.worst_cosine:.5f}",
            f"{row.required:.0%}" if row.required is not None else "–", verdicts[row.passed],
        )
        for row in report.parity
    ]  # fmt: skip
    headings = (
        "mode", "precision", "operators as", ">pictures", ">people", ">IoU ≥ 0.99", ">worst IoU", ">cosine ≥ 0.999",
        ">worst cosine", ">required", "",
    )  # fmt: skip
    return "\n\n".join([f"## Against {report.parity[0].reference}", _table(headings, body)])


def _left_out(report: Report) -> str:
    if not report.left_out:
        return ""
    return "## Left out\n\n" + "\n".join(f"- {what}: {why}" for what, why in report.left_out.items())


def _table(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a heading that begins with `>` aligns its column to the right."""
    names = [heading.removeprefix(">") for heading in headings]
    rule = ["---:" if heading.startswith(">") else "---" for heading in headings]
    padded = [[*row, *[""] * (len(headings) - len(row))] for row in body]
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, rule, *padded))


def _number(value: float | None) -> str:
    """Three digits that count, or all before the point."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())
