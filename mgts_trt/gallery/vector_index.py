"""The indices of a gallery: of vectors, which find the most similar without comparing all, and of columns."""

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Floats
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.lance import queried, retried
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTING, SIGHTINGS, embeddings_of

if TYPE_CHECKING:
    import pyarrow as pa

INDEX_FROM = 20_000
"""People from which on an index pays; comparing fewer one by one takes some hundredths of a second."""

PROBES = 40
"""Partitions a search looks into; see benchmarks/gallery_search.py for what that finds."""

FEW = 50_000
"""As many people as a filter leaves are compared one by one: the most similar of them may lie in any partition."""

_EQUALS = ("source", "number", "first", "id")
"""Columns of people and of sightings, by which those go that are equally alike."""

_LIKENESS = "likeness"

_CLOSE = 1e-6
"""Likenesses that differ by less may come from LanceDB in any order."""

_NAME = "embedding_ivf_"
_COLUMNS = {
    PEOPLE: ("id", "frame", "source", "sha256", "time", "camera", SIGHTING),
    FRAMES: ("key", "source"),
    SIGHTINGS: ("id", "source", "sha256", "first_time", "camera"),
}
_KEEP = timedelta(minutes=10)
"""For so long may a search of another process go on reading what has been replaced."""


def optimise(people: Any, frames: Any, sightings: Any | None) -> None:
    """Gather small files into large ones, add new rows to the indices, and make those that pay by now."""
    from lancedb.index import Bitmap, BTree

    for name, table in ((PEOPLE, people), (FRAMES, frames), (SIGHTINGS, sightings)):
        if table is None:
            continue
        reached(f"optimise {name}")
        table.optimize(cleanup_older_than=_KEEP)
        if table.count_rows() >= INDEX_FROM:
            there = {column for index in table.list_indices() for column in index.columns}
            for column in _COLUMNS[name]:
                if column not in there and column in table.schema.names:
                    reached(f"index {name}.{column}")
                    table.create_index(column, config=Bitmap() if column == "camera" else BTree())
        if name != FRAMES:
            _index_vectors(table)


def most_similar(
    table: Any,
    probe: Floats,
    *,
    top: int,
    columns: "list[str]",
    condition: Any | None = None,
    selective: bool = False,
    left: int | None = None,
    exact: bool = False,
) -> "tuple[pa.Table, Floats]":
    """The rows whose embeddings are most like one, the most similar first, and their cosines, float32 [N].

    Equals go by source, frame and `id`, so that twenty begin with the ten that are found alone. LanceDB takes any of
    them, and not always the same: where some may be left that are as good as the last, it is asked for more.

    Args:
        table: `people` or `sightings`.
        probe: float32 [d].
        top: How many at most.
        columns: Which to give, `id` and `embedding` among them.
        condition: An expression or SQL; rows it holds for are picked before the most similar are.
        selective: Whether it may leave few rows.
        left: How many it leaves, if they were counted already.
        exact: Compare with all rows, even where there is an index.
    """
    among: int | None = PROBES
    if condition is not None and selective:
        text = condition if isinstance(condition, str) else condition.to_sql()
        left = int(retried(lambda: table.count_rows(text))) if left is None else left
        among = probes(left, int(retried(table.count_rows)))

    def nearest(asked: Any) -> Any:
        query = asked.query().nearest_to(probe).column("embedding").distance_type("cosine").limit(limit)
        query = query.select([*columns, "_distance"])
        query = query if condition is None else query.where(condition)
        return query.bypass_vector_index() if exact or among is None else query.nprobes(among)

    limit = top + 1
    while True:
        rows = retried(lambda: queried(table, nearest))
        likeness = _cosines(embeddings_of(rows), probe)
        order = _best_first(rows, likeness)[:top]
        if len(rows) < limit or likeness.min() < likeness[order[-1]] - _CLOSE:
            return rows.take(order), likeness[order]
        limit *= 4


def _best_first(rows: "pa.Table", likeness: Floats) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = [(_LIKENESS, "descending"), *((name, "ascending") for name in _EQUALS if name in rows.column_names)]
    return np.asarray(pc.sort_indices(rows.append_column(_LIKENESS, pa.array(likeness)), sort_keys=keys))


def _cosines(embeddings: Floats, probe: Floats) -> Floats:
    """Of each of [N, d] with [d], float32 [N]: the same for the same embedding, whichever row it is in."""
    rows, one = embeddings.astype(np.float64), probe.astype(np.float64)
    return np.asarray(rows @ one / (np.linalg.norm(rows, axis=1) * np.linalg.norm(one)), np.float32)


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


def _index_vectors(table: Any) -> None:
    """Make the index, or make it anew where the table has outgrown its partitions fourfold."""
    count = table.count_rows()
    if count < INDEX_FROM:
        return
    name, wanted = _index_name(table), partitions(count)
    if name is not None and wanted <= 2 * int(name.removeprefix(_NAME)):
        return
    from lancedb.index import IvfFlat

    config = IvfFlat(distance_type="cosine", num_partitions=wanted)
    reached(f"index {table.name}.embedding")
    table.create_index("embedding", config=config, name=f"{_NAME}{wanted}")
    if name is not None:
        reached(f"drop {table.name}.{name}")
        table.drop_index(name)


def _index_name(table: Any) -> str | None:
    """The vector index's; it tells the number of partitions, which LanceDB does not."""
    names = [index.name for index in table.list_indices() if index.name.startswith(_NAME)]
    return max(names, key=lambda name: int(name.removeprefix(_NAME)), default=None)
