"""Search in ever larger galleries (Sec. 4.4, Fig. 5)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mgts_trt._typing import Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.evaluation.metrics import RankingResult, evaluate_search
from mgts_trt.pictures.image import read_image
from training.data.protocols import Query, cuhk_sysu_queries
from training.evaluation.measure import OnStep, describe_search

Picture: TypeAlias = Callable[[str], Image]


def cuhk_sysu_galleries(folder: Path, sizes: Sequence[int]) -> tuple[dict[int, list[Query]], Picture]:
    """The published queries by gallery size, and the pictures by name.

    Raises:
        DataError: CUHK-SYSU has no such size, or a file is missing or wrong.
    """
    queries = {size: cuhk_sysu_queries(folder, size) for size in sizes}
    return queries, lambda name: read_image(folder / "Image" / "SSM" / name)


def evaluate_galleries(
    bundle: Bundle, picture: Picture, queries: Mapping[int, list[Query]], mode: Mode, *, on_step: OnStep
) -> dict[int, RankingResult]:
    """Person search by gallery size; the pipeline sees each picture once, however many galleries hold it.

    Args:
        bundle: With the models of the mode.
        picture: The picture of a name.
        queries: By gallery size.
        mode: Of the pipeline.
        on_step: Called after each picture; `training.evaluation.measure.picture_count` of all queries says how often.
    """
    described = describe_search(
        bundle, picture, [q for group in queries.values() for q in group], mode, on_step=on_step
    )
    results, first = {}, 0
    for size, group in queries.items():
        probes = described.probes[first : first + len(group)]
        results[size] = evaluate_search(probes, [query.gallery for query in group], described.detections)
        first += len(group)
    return results
