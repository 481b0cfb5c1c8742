"""Rows that are gone from the disk, too.

LanceDB marks rows as deleted and leaves their bytes in place: in files of rows until a tenth of one is deleted, in
indices until they are made anew, in its log of transactions until older versions are removed.
"""

import warnings
from datetime import timedelta
from functools import partial
from typing import Any

from mgts_trt.gallery.lance import retried

_FRAGMENT_BITS = 32
"""A row's address is its place in its fragment, above these bits the fragment's number."""


def erase(table: Any, condition: Any) -> int:
    """Delete the rows of a LanceDB table that fulfil a condition, with their bytes; returns how many.

    The table is without indices afterwards, and without older versions.
    """
    query = table.search().where(condition).select([table.schema.names[0]]).with_row_id(True)
    addresses = retried(query.to_arrow)["_rowid"].to_pylist()
    deleted = int(retried(lambda: table.delete(condition)).num_deleted_rows)
    if not deleted:
        return 0
    for fragment in sorted({address >> _FRAGMENT_BITS for address in addresses}):
        # What else the fragment holds moves to another, and its file is no longer needed.
        inside = f"_rowid >= {fragment << _FRAGMENT_BITS} AND _rowid < {(fragment + 1) << _FRAGMENT_BITS}"
        retried(partial(table.update, where=inside, values_sql={"source": "source"}))
    for index in table.list_indices():
        retried(partial(table.drop_index, index.name))
    with warnings.catch_warnings():
        # It warns of taking older versions away from other processes; those read again, see `retried`.
        warnings.simplefilter("ignore", UserWarning)
        retried(partial(table.optimize, cleanup_older_than=timedelta(0)))
    return deleted
