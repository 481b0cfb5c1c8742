"""What a gallery in a bucket does without locks, and without files that can be seen."""

import threading
import time
import uuid
import warnings
from collections.abc import Callable, Hashable
from datetime import timedelta
from functools import partial
from typing import Any

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.lance import connect, retried

NOTHING = "source IS NULL"
"""Holds for no row."""

FRAGMENT_BITS = 32
"""A row's address is its place in its fragment, above these bits the fragment's number."""

_TABLE = "keeping"
_TURN = ""
"""Name of a row that whoever adds a note changes in the same commit: of two commits with a row in common, LanceDB lets
one through and has the other done anew; of two that only add rows, it lets both through."""
_PATIENCE = 60.0
"""Seconds for which a note is tried to be changed while others change it."""


class TableNotes:
    """`Notes` in a table of a gallery's database, made when the first is written: whoever reaches it reaches them.

    Of those who change a note at once, one is first and the others are asked again.

    Args:
        location: Of the gallery: see `lance.locate`.
    """

    def __init__(self, location: str) -> None:
        self._location, self._lock = location, threading.Lock()
        self._database: Any = None
        self._opened: Any = None

    def stamp(self, name: str) -> Hashable:
        """See `Notes`; the same for all of them."""
        table = self._table()
        return None if table is None else retried(lambda: int(table.version))

    def read(self, name: str) -> str | None:
        """See `Notes`."""
        found = self._find(name)
        return found and found[0]

    def change(self, name: str, how: Callable[[str | None], str], *, step: str) -> None:
        """See `Notes`.

        Raises:
            GalleryError: Others change it all the time.
        """
        import pyarrow as pa

        table, deadline = self._table() or self._make(), time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = self._find(name)
            text, stamp = how(found and found[0]), uuid.uuid4().hex
            reached(step)
            if found is None:  # of two who add it, the second finds the first one's
                rows = pa.table({"name": [_TURN, name], "text": ["", text], "stamp": [stamp, stamp]})
                adding = table.merge_insert("name").when_matched_update_all(where=f"target.name = '{_TURN}'")
                retried(partial(adding.when_not_matched_insert_all().execute, rows))
            else:
                values = {"text": text, "stamp": stamp}
                retried(partial(table.update, where=f"{_is(name)} AND stamp = '{found[1]}'", values=values))
            if (kept := self._find(name)) and kept[1] == stamp:
                return
        raise GalleryError(f"The note {name} of {self._location} is changed by others all the time. Try again later.")

    def remove(self, name: str) -> None:
        """See `Notes`."""
        table = self._table()
        if table is not None and self._find(name) is not None:
            retried(partial(table.delete, _is(name)))
            retried(partial(table.update, where="name IS NOT NULL", values_sql={"name": "name"}))
            remove_older_versions(table)

    def names(self, suffix: str) -> list[str]:
        """See `Notes`."""
        table = self._table()
        rows = [] if table is None else retried(table.search().select(["name"]).to_arrow)["name"].to_pylist()
        return sorted(name for name in rows if name != _TURN and name.endswith(suffix))

    def _find(self, name: str) -> tuple[str, str] | None:
        """A note's text and its own stamp."""
        table = self._table()
        if table is None:
            return None
        rows = retried(table.search().where(_is(name)).select(["text", "stamp"]).to_arrow).to_pylist()
        return (str(rows[0]["text"]), str(rows[0]["stamp"])) if rows else None

    def _table(self) -> Any:
        """The table; None where nothing was ever noted."""
        with self._lock:
            if self._opened is None:
                self._database = self._database or connect(self._location)
                try:
                    self._opened = self._database.open_table(_TABLE)
                except (ValueError, RuntimeError) as error:
                    if "not found" not in str(error).lower():
                        raise
            return self._opened

    def _make(self) -> Any:
        import pyarrow as pa

        turn = pa.table({"name": [_TURN], "text": [""], "stamp": [""]})
        retried(partial(connect(self._location).create_table, _TABLE, turn, exist_ok=True))
        return self._table()


def delete(location: str, table: Any, condition: str) -> set[int] | None:
    """Delete rows; returns the numbers of the fragments they were in, or None where nobody can tell any more.

    Asked before, others may move the rows to another fragment until they are deleted.
    """
    version = int(retried(partial(table.delete, condition)).version)
    before = connect(location).open_table(table.name)
    try:
        before.checkout(version - 1)
        query = before.search().where(condition).select([table.schema.names[0]]).with_row_id(True)
        return {int(address) >> FRAGMENT_BITS for address in query.to_arrow()["_rowid"].to_pylist()}
    except (RuntimeError, ValueError, OSError):  # another has removed that version
        return None


def leave_one_version(table: Any) -> None:
    """Drop the indices of a table, which hold deleted rows, and have LanceDB remove older versions, by the clock.

    Args:
        table: Whose deleted rows lie in no file of its newest version.
    """
    retried(lambda: table.delete(NOTHING))
    for index in table.list_indices():
        retried(partial(table.drop_index, index.name))
    remove_older_versions(table)


def remove_older_versions(table: Any) -> None:
    """Have LanceDB gather the files of a table and remove its older versions, by the clock."""
    with warnings.catch_warnings():
        # It warns of taking older versions away from other processes; those read again, see `retried`.
        warnings.simplefilter("ignore", UserWarning)
        retried(partial(table.optimize, cleanup_older_than=timedelta(0)))


def _is(name: str) -> str:
    from lancedb.expr import col

    return str(col("name").isin([name]).to_sql())
