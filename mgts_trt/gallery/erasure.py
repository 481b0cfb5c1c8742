"""Rows that are gone from the disk, too.

LanceDB marks rows as deleted and leaves their bytes in place: in files of rows until a tenth of one is deleted, in
indices until they are made anew, in its log of transactions until older versions are removed.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from mgts_trt.gallery.lance import retried
from mgts_trt.urls import without_login

_FRAGMENT_BITS = 32
"""A row's address is its place in its fragment, above these bits the fragment's number."""


def forget(tables: Sequence[Any], source: str) -> list[int]:
    """Erase all that a source brought; how many rows that were, by table.

    Args:
        tables: Of a gallery, in this order. Frames go first: cut off then, the source is not taken for done, and can be
            forgotten again. People go last: as long as there are some, the source has a name.
        source: Its name, or its URL with a password.
    """
    from lancedb.expr import col

    of_source = col("source").isin(sorted({source, without_login(source)}))
    if not any(retried(partial(table.count_rows, of_source.to_sql())) for table in tables):
        return [0] * len(tables)
    return [erase(table, of_source) for table in tables]


def remove_changed(tables: Sequence[Any], current: Mapping[str, str]) -> list[int]:
    """Remove what sources brought when their files had another content; how many rows that were, by table.

    Args:
        tables: See `forget`.
        current: Source → SHA-256 of its file as it is now.
    """
    from lancedb.expr import col

    among, deleted, changed = col("source").isin(sorted(current)), [0] * len(tables), set()
    for table in tables:  # of a frame cut off half-way there are only people
        rows = retried(table.search().where(among).select(["source", "sha256"]).to_arrow)
        pairs = zip(rows["source"].to_pylist(), rows["sha256"].to_pylist(), strict=True)
        changed |= {source for source, sha256 in pairs if sha256 != current[source]}
    for source in sorted(changed):
        old = col("source").isin([source]) & ~col("sha256").isin([current[source]])
        for i, table in enumerate(tables):
            deleted[i] += int(retried(partial(table.delete, old)).num_deleted_rows)
    return deleted


def erase(table: Any, condition: Any) -> int:
    """Delete the rows of a LanceDB table that fulfil a condition, with their bytes; returns how many.

    The table is without indices afterwards, and without older versions.
    """
    query = table.search().where(condition).select([table.schema.names[0]]).with_row_id(True)
    addresses = retried(query.to_arrow)["_rowid"].to_pylist()
    deleted = int(retried(lambda: table.delete(condition)).num_deleted_rows) if addresses else 0
    for fragment in sorted({address >> _FRAGMENT_BITS for address in addresses}):
        # What else the fragment holds moves to another, and its file is no longer needed.
        inside = f"_rowid >= {fragment << _FRAGMENT_BITS} AND _rowid < {(fragment + 1) << _FRAGMENT_BITS}"
        retried(partial(table.update, where=inside, values_sql={"source": "source"}))
    # The log of the last commit stays, and this one does not tell the condition. Where there are no rows any more, log
    # and indices may still tell of them, and are renewed all the same.
    retried(lambda: table.delete("source IS NULL"))
    for index in table.list_indices():
        retried(partial(table.drop_index, index.name))
    with warnings.catch_warnings():
        # It warns of taking older versions away from other processes; those read again, see `retried`.
        warnings.simplefilter("ignore", UserWarning)
        retried(partial(table.optimize, cleanup_older_than=timedelta(0)))
    return deleted
