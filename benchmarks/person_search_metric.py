"""How long the person search metric takes on a synthetic set as large as PRW, or as large as asked for.

python -m benchmarks.person_search_metric
"""

import json
import resource
import time
from typing import Annotated

import numpy as np
import typer

from mgts_trt.cli.console import out
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.evaluation.metrics import GalleryEntry, evaluate_search
from mgts_trt.machine.cpu import available_cores, cpu_name

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_SIZE = 1000
"""Side of a synthetic image in pixels."""


@app.command()
def main(
    queries: Annotated[int, typer.Option(min=1)] = 2057,
    images: Annotated[int, typer.Option(min=2)] = 6112,
    people: Annotated[int, typer.Option(min=1, help="Detections an image.")] = 6,
    identities: Annotated[int, typer.Option(min=1, help="Different persons.")] = 450,
    dim: Annotated[int, typer.Option(min=1, help="Length of an embedding.")] = 128,
    json_file: JsonOption = None,
) -> None:
    """Time `evaluate_search`; every query searches all images but its own."""
    embeddings, galleries, detections = _synthetic(queries, images, people, identities, dim)
    start = time.perf_counter()
    result = evaluate_search(embeddings, galleries, detections)
    seconds = time.perf_counter() - start
    report = {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "queries": queries,
        "images": images,
        "detections": images * people,
        "seconds": round(seconds, 2),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **{name: round(value, 4) for name, value in result.summary().items()},
    }
    for name, value in report.items():
        out.print(f"{name:16} {value}")
    if json_file:
        write_json(json_file, json.dumps(report, indent=2))


def _synthetic(
    queries: int, images: int, people: int, identities: int, dim: int
) -> tuple[np.ndarray, list[list[GalleryEntry]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Noisy views of random people; half of all detections show somebody without an identity."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, _SIZE - 200, (images, people, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 200, (images, people, 2))], axis=2)
    shown = np.array([rng.permutation(max(2 * identities, people))[:people] for _ in range(images)])
    looks = rng.normal(size=(shown.max() + 1, dim))
    embeddings = (looks[shown] + rng.normal(size=(images, people, dim))).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
    detections = {f"{i}.jpg": (boxes[i], embeddings[i]) for i in range(images)}
    empty: list[GalleryEntry] = [(name, None) for name in detections]
    labelled = np.argwhere(shown < identities)
    chosen = labelled[rng.integers(len(labelled), size=queries)]
    galleries = []
    for own, k in chosen:
        gallery = list(empty)
        for i, j in np.argwhere(shown == shown[own, k]):
            gallery[i] = (f"{i}.jpg", boxes[i, j])
        del gallery[own]
        galleries.append(gallery)
    return embeddings[chosen[:, 0], chosen[:, 1]], galleries, detections


if __name__ == "__main__":
    run_app(app)
