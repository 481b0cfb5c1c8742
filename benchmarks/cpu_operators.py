"""What ONNX Runtime gains on a CPU by bodies of its own for the `mgts` operators, over those in a bundle's files.

    python -m benchmarks.cpu_operators --image PHOTO

The other side is a copy of the bundle with the files' own bodies inlined, so that there is nothing to put others in the
place of. Each round runs both sides once, in alternating order, and gives a ratio; reported is the median of the
rounds'. Whatever else the machine does falls on both, so ratios tell, times do not. Processor time, of all threads,
tells more than the clock where cores are shared; therefore threads without work do not spin.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from benchmarks.inputs import network_inputs
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.cpu_forms import with_cpu_forms
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.operators import inline
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.machine.cpu import available_cores
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PRECISION = "fp32"
MODES: tuple[Mode, ...] = ("box", "net")

Side = Callable[[], Mapping[str, Any]]
"""Runs once, and gives arrays by name."""


class Gain(BaseModel):
    """Both sides of one thing; a ratio is how many times longer the files' own bodies take."""

    what: str
    """A network alone, or the pipeline in a mode."""
    operators: list[str]
    """Those with other bodies."""
    ratio: float
    ratio_quartiles: tuple[float, float]
    cpu_ratio: float
    """Of processor time."""
    difference: float
    """Greatest absolute one between outputs."""


class CpuOperatorsReport(BaseModel):
    """What was measured."""

    environment: Environment
    preset: str
    canvas: tuple[int, int]
    image: str
    people: int
    threads: int
    rounds: int
    gains: list[Gain]


@app.command()
def main(
    image: Annotated[Path, typer.Option(help="The photo to run on.")],
    bundle: Annotated[Path | None, typer.Option(help="A bundle whose files hold the operators.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 31,
    people: Annotated[int, typer.Option(min=1, max=64, help="Most persons that a mode describes.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure the networks with operators, and the pipeline in the modes that run them."""
    opened, pixels, threads = Bundle.open(find_bundle(bundle)), read_image(image), threads or available_cores()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        inlined, replaced = with_own_bodies(opened, folder / "bundle")
        inputs = network_inputs(opened, pixels, people)
        bundles = (inlined, opened)
        measured: dict[str, tuple[Side, Side]] = {}
        for name in replaced:
            first, second = (OnnxRuntimeSession(each, name, PRECISION, threads=threads) for each in bundles)
            measured[name] = _network(first, inputs[name]), _network(second, inputs[name])
        for mode in MODES:
            first_search, second_search = (
                held.enter_context(PersonSearch(each, mode=mode, backend="onnxruntime", threads=threads))
                for each in bundles
            )
            measured[mode] = _search(first_search, pixels, people), _search(second_search, pixels, people)
        gains = []
        with progress() as bar:
            task = bar.add_task("measuring", total=len(measured))
            for what, sides in measured.items():
                used = replaced.get(what) or sorted({name for names in replaced.values() for name in names})
                gains.append(_gain(what, used, *sides, rounds))
                bar.update(task, advance=1, description=what)
    report = CpuOperatorsReport(
        environment=environment(),
        preset=opened.manifest.preset,
        canvas=opened.manifest.canvas,
        image=image.name,
        people=people,
        threads=threads,
        rounds=rounds,
        gains=gains,
    )
    shown = table("what", ">times faster", ">quartiles", ">by CPU time", ">greatest difference")
    for gain in gains:
        low, high = gain.ratio_quartiles
        shown.add_row(
            gain.what, f"{gain.ratio:.2f}", f"{low:.2f}–{high:.2f}", f"{gain.cpu_ratio:.2f}", f"{gain.difference:.1e}"
        )
    out.print(shown)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def with_own_bodies(bundle: Bundle, folder: Path) -> tuple[Bundle, dict[str, list[str]]]:
    """A copy of a bundle that runs the bodies in its files on ONNX Runtime's CPU provider, too.

    Args:
        bundle: The bundle.
        folder: Where to copy it; plans stay behind.

    Returns:
        The copy; model → its operators that have another body in `bundle`.

    Raises:
        MgtsError: No model has any.
    """
    shutil.copytree(bundle.root, folder, ignore=shutil.ignore_patterns("plans"))
    models, replaced = dict(bundle.manifest.models), {}
    for name, entry in bundle.manifest.models.items():
        path = folder / entry.files[PRECISION].file
        if with_cpu_forms(path) is None:
            continue
        model = load_onnx(path)
        replaced[name] = sorted({node.op_type for node in model.graph.node if node.domain == "mgts"})
        path.write_bytes(inline(model).SerializeToString())
        files = {**entry.files, PRECISION: BundleFile.of(folder, entry.files[PRECISION].file)}
        models[name] = entry.model_copy(update={"files": files})
    if not replaced:
        raise MgtsError(
            f"No model of {bundle.root} holds an operator that a CPU has another body of: it was exported before there "
            "were any. Export it again."
        )
    write_manifest(folder, bundle.manifest.model_copy(update={"models": models}))
    return Bundle.open(folder), replaced


def _network(session: OnnxRuntimeSession, inputs: dict[str, Any]) -> Side:
    return lambda: session.run(inputs)


def _search(search: PersonSearch, pixels: Any, people: int) -> Side:
    def run() -> Mapping[str, Any]:
        found = search(pixels, top=people)
        return {"boxes": found.boxes, "scores": found.scores, "embeddings": found.embeddings}

    return run


def _gain(what: str, operators: list[str], own: Side, other: Side, rounds: int) -> Gain:
    seconds = np.zeros((rounds, 2, 2))  # round, side, clock and processor
    outputs = [own(), other()]  # and warm up
    for i in range(rounds):
        for side in (0, 1) if i % 2 else (1, 0):
            start = time.perf_counter(), time.process_time()
            (own, other)[side]()
            seconds[i, side] = time.perf_counter() - start[0], time.process_time() - start[1]
    ratios = seconds[:, 0] / seconds[:, 1]
    low, middle, high = np.quantile(ratios[:, 0], [0.25, 0.5, 0.75]).round(3).tolist()
    mine, theirs = outputs
    return Gain(
        what=what,
        operators=operators,
        ratio=middle,
        ratio_quartiles=(low, high),
        cpu_ratio=round(float(np.median(ratios[:, 1])), 3),
        difference=max(float(np.abs(mine[name] - theirs[name]).max(initial=0)) for name in mine),
    )


if __name__ == "__main__":
    run_app(app)
