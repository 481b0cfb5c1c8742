"""Integration or separation (Sec. 4.5, Table 3): one network for both tasks, or one for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.evaluation.metrics import RankingResult, evaluate_search
from mgts_trt.runtime.modes import mode_dimension
from mgts_trt.runtime.pipeline import PersonSearch
from training.data.annotated import AnnotatedScenes
from training.data.protocols import Query, cuhk_sysu_images, cuhk_sysu_queries, prw_images, prw_queries
from training.data.scene import Scenes
from training.evaluation.analyses.search import search_scenes
from training.evaluation.detector import DetectorResult, bundled_detector, judge_detector
from training.evaluation.measure import OnStep

DETECTORS = {"joint": (69.5, 75.6), "detector": (78.0, 75.7)}
"""AP and recall of the paper's Table 3a, %: of OIM, trained jointly, and of the detector alone."""

DESCRIBERS: dict[Mode, tuple[float, float]] = {"joint": (77.9, 80.5), "none": (78.5, 81.7)}
"""mAP and top-1 of Table 3b, %, on ground-truth boxes of CUHK-SYSU: of OIM, and of IDNet."""


class Labelled(NamedTuple):
    """Scenes that show labelled people, and whom of them to search for."""

    scenes: Scenes
    queries: list[Query]


def composed_people(scenes: Scenes, *, on_step: OnStep) -> Labelled:
    """Composed scenes, in which everybody is searched for; see `search_scenes`."""
    return Labelled(scenes, search_scenes(scenes, on_step=on_step).queries)


def cuhk_sysu_people(folder: Path) -> Labelled:
    """CUHK-SYSU's test pictures and its queries with galleries of 100.

    Raises:
        DataError: The dataset is not there, or not as published.
    """
    scenes = AnnotatedScenes(folder / "Image" / "SSM", cuhk_sysu_images(folder, "test"))
    return Labelled(scenes, cuhk_sysu_queries(folder, 100))


def prw_people(folder: Path) -> Labelled:
    """PRW's test frames and its queries.

    Raises:
        DataError: The dataset is not there, or not as published.
    """
    images = prw_images(folder, "test")
    return Labelled(AnnotatedScenes(folder / "frames", images), prw_queries(folder, images=images))


@dataclass(frozen=True, eq=False)
class Integration:
    """Both halves of Table 3 on one dataset.

    Attributes:
        detectors: Of `DETECTORS`, by model.
        describers: Of `DESCRIBERS`, by mode.
    """

    detectors: dict[str, DetectorResult]
    describers: dict[Mode, RankingResult]


def evaluate_integration(bundle: Bundle, people: Labelled, *, begin: Callable[[str, int], OnStep]) -> Integration:
    """Find everybody with the joint network and with the detector, and describe them with the joint one and IDNet.

    Args:
        bundle: With the models `joint`, `detector` and `idnet`.
        people: Where, and whom.
        begin: Begins a piece of work, given what it is and its steps; what it returns is called after each step.

    Raises:
        BundleError: The bundle lacks a model.
        MetricError: Nobody is labelled.
    """
    scenes, threshold = people.scenes, bundle.manifest.thresholds.detection
    detectors = {}
    for model in DETECTORS:
        step = begin(f"finding people, {model}", len(scenes))
        detectors[model] = judge_detector(bundled_detector(bundle, model), scenes, threshold, on_step=step)
    describers = {}
    for mode in DESCRIBERS:
        describers[mode] = _search_labelled(bundle, people, mode, begin(f"describing people, {mode}", len(scenes)))
    return Integration(detectors, describers)


def _search_labelled(bundle: Bundle, people: Labelled, mode: Mode, on_step: OnStep) -> RankingResult:
    """The search of labelled boxes, so that no detector has a part in it."""
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(people.queries):
        rows.setdefault(query.image, []).append(row)
    wanted = rows.keys() | {name for query in people.queries for name, _ in query.gallery}
    length = mode_dimension(bundle.manifest, mode)
    probes = np.zeros((len(people.queries), length), np.float32)
    described: dict[str, tuple[Array, Array]] = {}
    with PersonSearch(bundle, mode=mode) as search:
        for number in range(len(people.scenes)):
            scene = people.scenes[number]
            on_step()
            if scene.name not in wanted:
                continue
            described[scene.name] = (scene.boxes, _embed(search, scene.image, scene.boxes))
            if own := rows.get(scene.name):
                probes[own] = _embed(search, scene.image, np.stack([people.queries[row].box for row in own]))
    return evaluate_search(probes, [query.gallery for query in people.queries], described)


def _embed(search: PersonSearch, image: Image, boxes: Array) -> Array:
    return search.embed(image, boxes).embeddings
