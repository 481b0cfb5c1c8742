"""Rows of a gallery's tables, read in two steps: which they are, then what is in them.

A scan that filters or sorts reads whole pages of every column asked for, and those of thumbnails are large; what is
taken by row is read alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mgts_trt.gallery.lance import queried, retried

if TYPE_CHECKING:
    import pyarrow as pa

_ROW = "_rowid"


def read_rows(
    table: Any,
    columns: Sequence[str],
    condition: Any | None = None,
    *,
    order: Sequence[str] = (),
    offset: int = 0,
    limit: int | None = None,
) -> "pa.Table":
    """The rows of a table that a condition leaves.

    Args:
        table: `people` or `sightings`, whose key is `id`.
        columns: Which to read.
        condition: An expression or SQL; by default all rows.
        order: Columns to sort by, ascending, nulls last.
        offset: How many to pass over.
        limit: How many to give at most.
    """
    return retried(lambda: _read(table, columns, condition, order, offset, limit))


def _read(
    table: Any, columns: Sequence[str], condition: Any | None, order: Sequence[str], offset: int, limit: int | None
) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc
    from lancedb.query import ColumnOrdering

    none = pa.schema([table.schema.field(name) for name in columns]).empty_table()
    if limit == 0:  # LanceDB would give all
        return none
    wanted = [name for name in columns if name != "id"]

    def choose(asked: Any) -> Any:
        query = asked.query().select(["id", *(name for name in order if name != "id")]).with_row_id()
        if condition is not None:
            query = query.where(condition)
        if order:
            query = query.order_by([ColumnOrdering(column_name=name, nulls_first=False) for name in order])
        if offset:
            query = query.offset(offset)
        return query if limit is None else query.limit(limit)

    chosen = queried(table, choose)
    if not len(chosen):
        return none
    numbers = chosen[_ROW].to_pylist()
    taken = queried(table, lambda asked: asked.take_row_ids(numbers).select(["id", *wanted]))
    places = pc.index_in(chosen["id"], taken["id"])
    if places.null_count or len(taken) != len(chosen):
        # Another process compacted or erased between the steps: row numbers are of another version.
        raise RuntimeError("A concurrent commit moved the rows that were to be read.")
    return taken.take(places).select(list(columns))
