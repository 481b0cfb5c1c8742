"""The exported networks on ONNX Runtime against the same networks in PyTorch eager mode, on this CPU, side by side.

Each round runs every network once on each side, in alternating order, so that whatever else the machine does falls on
both. Reported is the ratio of the medians.

    python -m benchmarks.cpu_pytorch --bundle bundle --image PHOTO
"""

import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime as ort
import torch
import typer

from benchmarks.environment import commit
from benchmarks.inputs import network_inputs
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import find_bundle, out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.machine.cpu import available_cores, cpu_name
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from training.models import create
from training.preset import load_preset

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    image: Annotated[Path, typer.Option(help="The photo to run on.")],
    bundle: Annotated[Path | None, typer.Option(help="A bundle of one of the presets.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    people: Annotated[int, typer.Option(min=1, max=64, help="Persons in the re-ID batch.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure every network of a bundle on both sides."""
    opened = Bundle.open(find_bundle(bundle))
    preset = load_preset(opened.manifest.preset)
    threads = threads or available_cores()
    torch.set_num_threads(threads)
    inputs = network_inputs(opened, read_image(image), people)
    results = []
    with progress() as bar:
        task = bar.add_task("measuring", total=len(inputs) * (rounds + 1))
        for name in inputs:
            sides = _sides(opened, name, preset, inputs[name], threads)
            times: dict[str, list[float]] = {side: [] for side in sides}
            for i in range(rounds + 1):
                for side in sorted(sides, reverse=bool(i % 2)):
                    start = time.perf_counter()
                    sides[side]()
                    if i:  # the first round warms up
                        times[side].append((time.perf_counter() - start) * 1e3)
                bar.update(task, advance=1, description=name)
            medians = {side: float(np.median(values)) for side, values in times.items()}
            results.append({"model": name, **medians, "ratio": medians["pytorch"] / medians["onnxruntime"]})
    title = f"{preset.name} on {cpu_name()}, {threads} threads\n{people} persons; median ms of {rounds} rounds"
    rows = table("model", ">PyTorch eager", ">ONNX Runtime", ">ratio", title=title)
    for result in results:
        rows.add_row(
            str(result["model"]), *(f"{result[k]:.1f}" for k in ("pytorch", "onnxruntime")), f"{result['ratio']:.2f}×"
        )
    out.print(rows)
    if json_file:
        write_json(json_file, json.dumps({**_circumstances(opened, threads), "results": results}, indent=2))


def _sides(
    bundle: Bundle, name: str, preset: object, inputs: dict[str, np.ndarray], threads: int
) -> dict[str, Callable[[], object]]:
    # Seeded weights: speed does not depend on them, but for how many boxes the eager NMS has to look at.
    network = create(name, preset).eval()  # type: ignore[arg-type]
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    if name == "joint":
        tensors = [tensor[0] for tensor in tensors]  # one canvas and its boxes, without a batch
    session = OnnxRuntimeSession(bundle, name, "fp32", threads=threads)

    def eager() -> object:
        with torch.inference_mode():
            return network(*tensors)

    return {"pytorch": eager, "onnxruntime": lambda: session.run(inputs)}


def _circumstances(bundle: Bundle, threads: int) -> dict[str, object]:
    return {
        "date": dt.date.today().isoformat(),
        "commit": commit(),
        "cpu": cpu_name(),
        "threads": threads,
        "preset": bundle.manifest.preset,
        "canvas": bundle.manifest.canvas,
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
    }


if __name__ == "__main__":
    run_app(app)
