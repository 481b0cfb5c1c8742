"""What `mgts_trt.cli.facts` has found, as a person reads it."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from mgts_trt.bundle.macs import Work, macs_text, share_text
from mgts_trt.bundle.manifest import Converted
from mgts_trt.cli.console import table
from mgts_trt.cli.facts import BundleFacts, Facts, OnnxFacts, PlanFacts
from mgts_trt.cli.terminal import styled
from mgts_trt.plans.chain import OperatorStep
from mgts_trt.plans.plan import PlanRecord
from mgts_trt.plans.support import target_text, title


def facts_report(facts: Facts) -> RenderableType:
    """Everything the facts say, in headings, pairs and tables."""
    if isinstance(facts, OnnxFacts):
        return Group(*_onnx(facts))
    if isinstance(facts, PlanFacts):
        return Group(*_plan(facts))
    return Group(*_bundle(facts))


def _onnx(facts: OnnxFacts) -> Iterable[RenderableType]:
    yield styled((facts.file, "bold"), f", ONNX, {_size(facts.bytes)}")
    counted = ", ".join(f"{name} = {size}" for name, size in facts.sizes.items())
    yield _pairs(
        {
            **{f"input {name}": spec for name, spec in facts.inputs.items()},
            **{f"output {name}": spec for name, spec in facts.outputs.items()},
            "opset": ", ".join(f"{domain} {version}" for domain, version in facts.opset.items()),
            "parameters": f"{facts.parameters:,}",
            "weights": ", ".join(f"{dtype} {_size(size)}" for dtype, size in facts.weights.items()),
            "work": macs_text(sum(facts.macs.values())) + (f" at {counted}" if counted else ""),
            "done in": share_text(facts.macs),
            "not counted": ", ".join(facts.uncounted),
            "nodes": ", ".join(f"{count} {op}" for op, count in facts.operators.items()),
        }
    )
    if facts.layers:
        yield _layers(facts.layers, sum(facts.macs.values()))


def _plan(facts: PlanFacts) -> Iterable[RenderableType]:
    record = facts.record
    yield styled((facts.folder, "bold"), f", plan, {_size(record.plan_bytes)}")
    yield _pairs(_record(record))
    yield _chain(record)
    if facts.layers is None:
        yield facts.no_layers
        return
    for file, layers in facts.layers.items():
        rows = table(">#", "layer", title=f"{file}, {len(layers)} layers")
        for place, name in enumerate(layers, 1):
            rows.add_row(str(place), name)
        yield rows


def lowering_text(record: PlanRecord) -> str:
    """How a plan computes operators: `kernel: Nms, AlignRois`; `plugin`; `graph`."""
    names = list(dict.fromkeys(step.operator for step in record.chain.operators))
    return record.identity.lowering + (f": {', '.join(names)}" if names else "")


def converted_text(file: str, converted: Converted) -> str:
    """Where a converted file comes from, on a line."""
    pictures = f", calibration {converted.calibration_sha256[:12]}…" if converted.calibration_sha256 else ""
    verdict = {True: "at parity then", False: "NOT at parity then", None: "not compared then"}[converted.at_parity]
    made_by = ", ".join(f"{name} {version}" for name, version in converted.versions.items())
    return f"{file} was made from FP32 {converted.fp32_sha256[:12]}…{pictures} ({made_by}), {verdict}"


def _chain(record: PlanRecord) -> Table:
    """The steps of a plan in the order they run, and what each reads and writes."""
    chain = record.chain
    rows = table("step", ">work", "done in", ">size", "reads", "writes")
    for step in chain.steps:
        kernel = isinstance(step, OperatorStep)
        what = f"{step.operator} ({step.node})" if isinstance(step, OperatorStep) else step.file
        macs = {} if isinstance(step, OperatorStep) else step.macs
        rows.add_row(
            what,
            "" if kernel else macs_text(sum(macs.values())),
            "" if kernel else share_text(macs),
            "" if isinstance(step, OperatorStep) else _size(step.bytes),
            *(", ".join(f"{name} {chain.tensors[name]}" for name in names) for names in (step.inputs, step.outputs)),
        )
    return rows


def _record(record: PlanRecord) -> dict[str, str]:
    identity = record.identity
    return {
        "model": identity.model,
        "precision": identity.precision,
        "built by": f"{title(identity.flavour)} {identity.flavour_version}, mgts-trt {record.tool}",
        "target": target_text(identity.target),
        "operators": lowering_text(record),
        "platform": identity.platform,
        "ONNX SHA-256": identity.onnx_sha256,
        "recipe SHA-256": identity.recipe_sha256,
        **{f"{step.file} SHA-256": step.sha256 for step in record.chain.engines},
        "settings": ", ".join(f"{key} {str(value).lower()}" for key, value in identity.settings.items()),
        **{f"input {name}": str(spec) for name, spec in record.inputs.items()},
        **{f"output {name}": str(spec) for name, spec in record.outputs.items()},
        **{f"profile {name}": f"{each.min} … {each.opt} … {each.max}" for name, each in record.profile.items()},
        "work": macs_text(sum(record.macs.values())),
        "done in": share_text(record.macs),
        "network": ", ".join(f"{count} {dtype}" for dtype, count in record.layers.items()) + " layers",
        "ONNX nodes": f"{record.onnx_nodes}, {record.onnx_nodes_with_layer} with a layer of their own",
        "build": f"{record.seconds:.1f} s"
        + (f", {record.peak_memory_mib:,} MiB" if record.peak_memory_mib else "")
        + f", {record.warnings} warnings",
    }


def _bundle(facts: BundleFacts) -> Iterable[RenderableType]:
    (height, width), (tall, wide) = facts.canvas, facts.patch
    training = facts.training
    origin = "trained" if training.trained else "untrained"
    yield styled((facts.root, "bold"), f", bundle of preset {facts.preset}, {origin}")
    yield _pairs(
        {
            "canvas": f"{width}×{height}",
            "patch": f"{wide}×{tall}, γ = {facts.gamma:g}, {facts.embedding} numbers a person",
            "thresholds": ", ".join(f"{name} {value:g}" for name, value in facts.thresholds),
            "likeness": ", ".join(f"{mode}: FAR to {least:.2g}" for mode, least in facts.likeness.items())
            or "not calibrated: what a cosine means is not known",
            "training": training.note,
            "seed": "" if training.seed is None else str(training.seed),
            **{f"checkpoint {model}": sha256 for model, sha256 in training.checkpoints.items()},
            "made by": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        }
    )
    models = table("model", "precision", ">MiB", ">parameters", ">work", "done in")
    for name, files in facts.models.items():
        for precision, file in files.items():
            graph = file.graph
            cells = ("–", "–", "–")
            if graph:
                cells = (f"{graph.parameters:,}", macs_text(sum(graph.macs.values())), share_text(graph.macs))
            models.add_row(name, precision, f"{file.bytes / 2**20:.1f}", *cells)
    yield models
    if facts.no_graphs:
        yield facts.no_graphs
    for files in facts.models.values():
        for file in files.values():
            if file.kept_float32:
                yield f"{file.file} keeps in float32, for their values: {', '.join(file.kept_float32)}"
            if file.converted:
                yield converted_text(file.file, file.converted)
            if file.graph and file.graph.layers:
                yield styled((file.file, "bold"))
                yield _layers(file.graph.layers, sum(file.graph.macs.values()))
    yield _pairs({f"golden {name}": source for name, source in facts.goldens.items()} or {"goldens": "none"})
    for model, each in facts.ranges.items():
        yield (
            each.problem
            or f"ranges of {model}: {each.tensors} tensors on {len(each.pictures)} pictures, largest magnitude "
            f"{each.largest:g} at {each.node}, {each.overflow:.1%} at most beyond half"
        )
    for model, how in facts.quantisation.items():
        kept = f"; in half: {', '.join(how.kept)}" if how.kept else ""
        yield f"int8 of {model}: scales by {how.calibration}, shortcuts {'too' * how.residuals or 'not'}{kept}"
    if facts.calibration:
        count = len(facts.calibration.pictures)
        yield f"calibrated on {count} picture{'s' * (count > 1)}, SHA-256 {facts.calibration.sha256[:12]}…"
    for record in facts.parity:
        verdict = "at parity" if record.ok else "out of tolerance"
        of = f" and {record.labelled} labelled people" if record.labelled else ""
        old = "" if record.current else "; of an earlier export"
        yield (
            record.problem
            or f"{record.file}: {verdict} in {record.compared} numbers on goldens{of}, {record.device}{old}"
        )
    if not facts.plans:
        yield f"No plans yet; `mgts-trt build {facts.root}` builds them."
        return
    plans = table("plan", ">MiB", "done in", "built by")
    for plan in facts.plans:
        if plan.identity:
            built = f"{title(plan.identity.flavour)} {plan.identity.flavour_version}"
            plans.add_row(plan.folder, f"{plan.bytes / 2**20:.1f}", share_text(plan.macs), built)
    if plans.row_count:
        yield plans
    yield from (plan.problem for plan in facts.plans if plan.problem)


def _layers(layers: Iterable[Work], total: int) -> Table:
    rows = table("layer", "operator", ">work", ">share", "done in", title="Most work")
    for layer in layers:
        share = f"{layer.macs / max(total, 1):.1%}"
        rows.add_row(layer.name, layer.op, macs_text(layer.macs), share, layer.precision)
    return rows


def _pairs(values: Mapping[str, str]) -> Table:
    """Names and values side by side; what is empty is left out, what is long is wrapped."""
    rows = table("", "")
    rows.box, rows.show_header, rows.padding = None, False, (0, 2, 0, 0)
    for name, value in values.items():
        if value:
            rows.add_row(f"  {name}", value)
    return rows


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
