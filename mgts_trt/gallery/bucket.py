"""What a gallery in a bucket does without locks, and without files that can be seen."""

import warnings
from datetime import timedelta
from functools import partial
from typing import Any

from mgts_trt.gallery.lance import retried

NOTHING = "source IS NULL"
"""Holds for no row."""


def leave_one_version(table: Any) -> None:
    """Drop the indices of a table, which hold deleted rows, and have LanceDB remove older versions, by the clock.

    Args:
        table: Whose deleted rows lie in no file of its newest version.
    """
    retried(lambda: table.delete(NOTHING))
    for index in table.list_indices():
        retried(partial(table.drop_index, index.name))
    with warnings.catch_warnings():
        # It warns of taking older versions away from other processes; those read again, see `retried`.
        warnings.simplefilter("ignore", UserWarning)
        retried(partial(table.optimize, cleanup_older_than=timedelta(0)))
