"""Part `floors`: what no implementation can go below, by published numbers of GPUs; counted, and so without a GPU."""

from collections.abc import Iterator

from benchmarks.gpu import tables
from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.operator_costs import in_half, operator_cost, operator_work
from benchmarks.gpu.parts.roofline_rows import Cost, count_cut
from benchmarks.gpu.published import PUBLISHED, aim
from benchmarks.gpu.report import Floors, ModeFloor, NetworkFloor, OperatorFloor
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.plans.builder.cut import Cut, cut
from mgts_trt.plans.builder.one_picture import load_for_one
from mgts_trt.plans.chain import OperatorStep
from mgts_trt.runtime.modes import MODELS_OF_MODE


def plan(job: Job) -> list[str]:
    """The floors themselves: they need no GPU."""
    return tables.floors(make(job)).splitlines()


def run(job: Job) -> None:
    """Fill `report.floors`."""
    job.report.floors = make(job)


def make(job: Job) -> Floors:
    """Count every network of the modes, in the precisions wanted, and in those the bundle does not hold.

    Raises:
        BuildError: A network cannot be cut at its operators.
        OnnxError: The package onnx is missing, or a file cannot be read.
    """
    networks: list[NetworkFloor] = []
    operators: list[OperatorFloor] = []
    for model in job.models:
        if model not in job.bundle.manifest.models:
            continue
        held = job.bundle.manifest.models[model].files
        counted: dict[str, tuple[Cut, Cost]] = {}
        for precision in load_recipe(model).precision:
            if precision in held and precision not in job.precisions:
                continue
            supposed = precision not in held
            source = next(iter(held)) if supposed else precision
            if source not in counted:
                job.say(f"counting {model} in {source}")
                path = job.bundle.model_path(model, source)
                network = cut(load_for_one(path), path)
                counted[source] = network, count_cut(network, path, {"N": job.people})
            network, cost = counted[source]
            networks.append(_network(model, precision, cost.supposed(precision) if supposed else cost, supposed))
            if not supposed or precision == "fp16":  # in int8 they are as in fp16
                operators += _operators(model, precision, network, job.people, supposed)
    modes = list(_modes(job, networks))
    return Floors(people=job.people, gpus=PUBLISHED, networks=networks, modes=modes, operators=operators)


def _network(model: str, precision: str, cost: Cost, supposed: bool) -> NetworkFloor:
    return NetworkFloor(
        network=model,
        precision=precision,
        supposed=supposed,
        gmac=cost.flop / 2e9,
        model_mb=cost.model_bytes / 1e6,
        floor_ms={name: cost.floor(gpu)[0] for name, gpu in PUBLISHED.items()},
    )


def _operators(model: str, precision: str, network: Cut, people: int, supposed: bool) -> Iterator[OperatorFloor]:
    sizes = {"N": people}
    for step in network.steps:
        if isinstance(step, OperatorStep):
            tensors = in_half(step, network.tensors) if supposed else network.tensors
            cost = operator_cost(step, tensors, sizes)
            yield OperatorFloor(
                network=model,
                precision=precision,
                supposed=supposed,
                operator=step.operator,
                node=step.node,
                work=operator_work(step, tensors, sizes),
                read_kb=cost.read / 1e3,
                written_kb=cost.written / 1e3,
                mflop=cost.flop / 1e6,
                floor_us={name: cost.floor(gpu) for name, gpu in PUBLISHED.items()},
            )


def _modes(job: Job, networks: list[NetworkFloor]) -> Iterator[ModeFloor]:
    """Modes whose networks are all there."""
    found = {(each.network, each.precision): each for each in networks}
    for mode in job.modes:
        for precision in dict.fromkeys(each.precision for each in networks):
            parts = [found.get((model, precision)) for model in MODELS_OF_MODE[mode]]
            there = [part for part in parts if part is not None]
            if len(there) < len(parts):
                continue
            aims = {name: aim(job.bundle.manifest.preset, mode, precision, name) for name in PUBLISHED}
            yield ModeFloor(
                mode=mode,
                precision=precision,
                supposed=any(part.supposed for part in there),
                floor_ms={name: sum(part.floor_ms[name] for part in there) for name in PUBLISHED},
                aim_ms={name: value for name, value in aims.items() if value is not None},
            )
