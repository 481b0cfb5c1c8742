"""The indices of a gallery: one of vectors, which finds the most similar without comparing all, and some of columns."""

import math
from datetime import timedelta
from typing import Any

from mgts_trt.gallery.tables import FRAMES, PEOPLE

INDEX_FROM = 20_000
"""People from which on an index pays; comparing fewer one by one takes some hundredths of a second."""

PROBES = 40
"""Partitions a search looks into; see benchmarks/gallery_search.py for what that finds."""

FEW = 50_000
"""As many people as a filter leaves are compared one by one: the most similar of them may lie in any partition."""

_NAME = "embedding_ivf_"
_COLUMNS = {PEOPLE: ("id", "frame", "source", "sha256", "time", "camera"), FRAMES: ("key", "source")}
_KEEP = timedelta(minutes=10)
"""For so long may a search of another process go on reading what has been replaced."""


def optimise(people: Any, frames: Any) -> None:
    """Gather small files into large ones, add new rows to the indices, and make those that pay by now."""
    from lancedb.index import Bitmap, BTree

    for name, table in ((PEOPLE, people), (FRAMES, frames)):
        table.optimize(cleanup_older_than=_KEEP)
        if table.count_rows() >= INDEX_FROM:
            there = {column for index in table.list_indices() for column in index.columns}
            for column in _COLUMNS[name]:
                if column not in there:
                    table.create_index(column, config=Bitmap() if column == "camera" else BTree())
    _index_vectors(people)


def indexed(people: Any) -> int:
    """How many people are in the vector index."""
    name = _index_name(people)
    statistics = people.index_stats(name) if name else None
    return int(statistics.num_indexed_rows) if statistics else 0


def probes(left: int, people: int) -> int | None:
    """Partitions to look into where a filter leaves some of the people; None: compare those one by one.

    The fewer are left, the farther away are the most similar of them, and the less each partition costs.
    """
    return None if left <= FEW else math.ceil(PROBES * people / left)


def partitions(people: int) -> int:
    """Of the index of a number of people. Half the root: fewer and larger ones than usual, but quicker to train."""
    return max(1, round(math.sqrt(people) / 2))


def _index_vectors(people: Any) -> None:
    """Make the index, or make it anew where the gallery has outgrown its partitions fourfold."""
    count = people.count_rows()
    if count < INDEX_FROM:
        return
    name, wanted = _index_name(people), partitions(count)
    if name is not None and wanted <= 2 * int(name.removeprefix(_NAME)):
        return
    from lancedb.index import IvfFlat

    config = IvfFlat(distance_type="cosine", num_partitions=wanted)
    people.create_index("embedding", config=config, name=f"{_NAME}{wanted}")
    if name is not None:
        people.drop_index(name)


def _index_name(people: Any) -> str | None:
    """The vector index's; it tells the number of partitions, which LanceDB does not."""
    names = [index.name for index in people.list_indices() if index.name.startswith(_NAME)]
    return max(names, key=lambda name: int(name.removeprefix(_NAME)), default=None)
