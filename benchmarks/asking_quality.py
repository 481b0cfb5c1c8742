"""How well people are found by sightings or frames, by several probes, with negatives, and with re-ranking.

Crops of people held out of training stand for sightings: all of one person by one camera, of which up to three are
known. Whoever has three is a probe; what is ranked are all other sightings.

    python -m benchmarks.asking_quality --root DATA --json benchmarks/results/asking_quality_edge.json
"""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.environment import commit
from mgts_trt._typing import Array, Floats
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.evaluation.metrics import average_precision
from mgts_trt.gallery.combining import METHODS, combine
from mgts_trt.gallery.reranking import rerank
from training.evaluation.calibrate import held_out_crops
from training.evaluation.measure import embed_scenes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SETS: dict[str, Mode] = {"market1501": "net", "cuhk03": "box"}
"""Those with three crops of a person by one camera, each in the mode that its masks allow."""
KNOWN = 3
"""Crops of a sighting."""
SEED = 0


@dataclass(frozen=True, eq=False)
class Held:
    """S sightings of people held out.

    Attributes:
        crops: Float32 [k, d] of each, k = 1 … `KNOWN`.
        identities: Int64 [S].
        sightings: Float32 [S, d]: the mean of each one's crops, of length 1.
    """

    crops: list[Floats]
    identities: NDArray[np.int64]
    sightings: Floats

    @classmethod
    def of(cls, embeddings: Array, identities: Array, cameras: Array) -> "Held":
        """Chosen at random among the crops of each person and camera."""
        groups: dict[tuple[int, int], list[int]] = {}
        for row in np.random.default_rng(SEED).permutation(len(embeddings)).tolist():
            groups.setdefault((int(identities[row]), int(cameras[row])), []).append(row)
        keys = sorted(groups)
        crops = [embeddings[groups[key][:KNOWN]] for key in keys]
        means = np.stack([each.mean(axis=0) for each in crops])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return cls(crops, np.array([key[0] for key in keys]), means)


def rankings(held: Held) -> Iterator[tuple[str, Floats, NDArray[np.bool_]]]:
    """Of each probe and each way to ask: its name, the candidates' scores [N] and who is meant, bool [N]."""
    none = np.zeros((0, held.sightings.shape[1]), np.float32)
    for place, probes in enumerate(held.crops):
        others = np.delete(np.arange(len(held.crops)), place)
        meant = held.identities[others] == held.identities[place]
        if len(probes) < KNOWN or not meant.any():
            continue
        one, sightings = probes[:1], held.sightings[others]
        frames = [held.crops[other] for other in others]
        yield "a frame of each", combine(one, none, np.stack([rows[0] for rows in frames])), meant
        best = [float((rows @ one[0]).max()) for rows in frames]
        yield "the best frame of each", np.array(best, np.float32), meant
        likeness = combine(one, none, sightings)
        yield "sightings, 1 probe", likeness, meant
        for count in range(2, KNOWN + 1):
            for method in METHODS:
                found = combine(probes[:count], none, sightings, method=method)
                yield f"sightings, {count} probes, {method}", found, meant
        order = rerank(one[0], sightings)
        again = np.empty(len(order), np.float32)
        again[order] = -np.arange(len(order))
        yield "sightings, 1 probe, --rerank", again, meant
        wrong = np.array([row for row in np.argsort(-likeness, kind="stable") if not meant[row]])
        for count in (1, 3):
            # The best ranked that are wrong are named with --not; they do not count in either way.
            kept = np.delete(np.arange(len(others)), wrong[:count])
            refused = sightings[wrong[:count]]
            yield f"without the first {count} wrong", likeness[kept], meant[kept]
            yield f"and with them as --not ({count})", combine(one, refused, sightings[kept]), meant[kept]


def measure(held: Held) -> list[dict[str, Any]]:
    """MAP and rank-1 of each way to ask, over all probes."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for name, scores, meant in rankings(held):
        found.setdefault(name, []).append((average_precision(scores, meant), bool(meant[np.argmax(scores)])))
    rows = {name: np.array(each, np.float64).mean(axis=0).round(4).tolist() for name, each in found.items()}
    return [
        {"asked": name, "probes": len(found[name]), "map": mean, "rank_1": first}
        for name, (mean, first) in rows.items()
    ]


@app.command()
def main(
    root: Annotated[Path, typer.Option(help="The folder that holds market1501 and reid_mix.")],
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="The bundle's folder.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure ways to ask for a person on people held out of training."""
    opened, sets, results = Bundle.open(find_bundle(bundle)), held_out_crops(root), list[dict[str, Any]]()
    for name, mode in SETS.items():
        held = Held.of(*embed_scenes(opened, sets[name], mode))
        results += [{"set": name, "mode": mode, **row} for row in measure(held)]
    rows = table("set", "mode", "asked", ">probes", ">mAP", ">rank-1")
    for row in results:
        numbers = (f"{row['map']:.3f}", f"{row['rank_1']:.3f}")
        rows.add_row(row["set"], row["mode"], row["asked"], str(row["probes"]), *numbers)
    out.print(rows)
    if json_file:
        about = {"date": dt.date.today().isoformat(), "commit": commit(), "preset": opened.manifest.preset}
        write_json(json_file, json.dumps({**about, "seed": SEED, "results": results}, indent=1))


if __name__ == "__main__":
    run_app(app)
