"""Rows that are gone from the disk, too, whatever happens meanwhile.

LanceDB marks rows as deleted and leaves their bytes in place: in files of rows until a tenth of one is deleted, in
indices until they are made anew, in its log of transactions and in older versions until a clean-up that goes by the
clock, and in files of writers that were killed for a week. So an erasure is a journal and a number of steps, each of
which may be cut off and done again:

1. The intent is written beside the tables, and reaches the disk before anything is deleted.
2. What is forgotten gets its tombstone. The rows are deleted in every table; the intent no longer tells which they
   were.
3. What else is in the files that held them moves to other files; indices that held them are brought up to date, and
   those that LanceDB would only add to are dropped.
4. Whatever the newest version does not name is removed: older versions, logs, files that nobody named.
5. All files are read: none holds a trace of the rows.
6. The intent is removed.

Whoever writes to the gallery next finishes what was cut off; see `mgts_trt.gallery.writing`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import bucket
from mgts_trt.gallery.bucket import FRAGMENT_BITS, NOTHING
from mgts_trt.gallery.disk import intents
from mgts_trt.gallery.disk.checksums import Checksums, rolled_back
from mgts_trt.gallery.disk.intents import Intent
from mgts_trt.gallery.disk.manifests import latest
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import files_of, require_whole, roll_back, sweep
from mgts_trt.gallery.disk.traces import Traces, picture_trace, unit_vectors, vector_traces
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.opened import Opened
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTINGS, embeddings_of
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    import pyarrow as pa

_LOOKED_FOR = 4096
"""Rows of a table whose traces are searched for at the end, evenly among those that go."""

_NAMES, _CONTENTS = ("id", "key", "source", "camera", "sha256", "best"), ("thumbnail", "embedding")
"""Columns that tell of a row, those that are quick to read first."""


class TracesLeftError(GalleryError):
    """An erasure did all its steps, and files still hold what was to be erased."""


class KeptOut(NamedTuple):
    """What is not indexed again; see `Tombstones.make`."""

    source: str
    """Its name; empty where it may be."""
    contents: Collection[str] = ()
    """SHA-256 of its files."""
    sightings: Collection[str] = ()
    """Ids of those that may be going on."""


@dataclass(frozen=True)
class Erased:
    """What an erasure removed, in rows of the tables."""

    people: int
    frames: int
    sightings: int

    def __bool__(self) -> bool:
        return bool(self.people or self.frames or self.sightings)


def erase(
    gallery: Opened,
    conditions: Mapping[str, str],
    reason: str,
    *,
    later: bool = False,
    keep_out: Iterable[KeptOut] = (),
) -> Erased:
    """Erase rows; where there are none, nothing is written.

    Args:
        gallery: Which.
        conditions: Table (`PEOPLE`, `FRAMES`, `SIGHTINGS`) → SQL of the rows that go. Name all tables that have any:
            frames without people would count as searched and empty. Sightings that stay keep what they tell of their
            people: an embedding and a path.
        reason: A word that the journal keeps until the end.
        later: Delete them now, and leave their bytes to `finish`, which the gallery does when it is optimised, closed,
            or written to by another process. Several erasures then cost as much as one.
        keep_out: What stays out from now on.

    Raises:
        GalleryError: It cannot be read or written. Where the erasure was begun, whoever writes next goes on with it.
    """
    with explained("erase from", gallery.url), gallery.place.guard.alone():
        tables, counts = _tables(gallery), dict.fromkeys((PEOPLE, FRAMES, SIGHTINGS), 0)
        conditions = {name: condition for name, condition in conditions.items() if name in tables}
        for name, condition in conditions.items():
            counts[name] = int(retried(partial(tables[name].count_rows, condition)))
        erased = Erased(counts[PEOPLE], counts[FRAMES], counts[SIGHTINGS])
        if not erased:
            return erased
        looked_for = {} if gallery.place.folder is None else conditions  # where files are not to be seen, nothing is
        traces = frozenset(trace for name, sql in looked_for.items() for trace in _traces(tables[name], sql))
        stones = tuple(stone for each in keep_out if (stone := gallery.place.tombstones.make(*each)))
        intent = Intent(reason, dict(conditions), tuple(sorted(traces)), stones)
        intents.write(gallery.place, intent)
        gallery.place.owes = True
        _delete(gallery, intent)
    if not later:
        finish(gallery)
    return erased


def will_erase_old(gallery: Opened, condition: str, reason: str) -> None:
    """Before rows are given other values: the old ones go from the disk with the next `finish`.

    Args:
        gallery: Which; the caller has its guard alone until the rows have changed.
        condition: SQL of the rows of `FRAMES` that change.
        reason: See `erase`.
    """
    rows = retried(gallery.tables[1].search().where(condition).select(["camera"]).to_arrow)
    names = [] if gallery.place.folder is None else rows["camera"].to_pylist()
    traces = {(name or "").encode() for name in names}
    intents.write(gallery.place, Intent(reason, {}, tuple(sorted(traces))))
    gallery.place.owes = True


def finish(gallery: Opened) -> bool:
    """Finish the erasures that are under way, of whichever process; returns whether there were any.

    Raises:
        GalleryError: It cannot be written; or, as a `TracesLeftError`, a trace of what is to be erased is left. Then
            they stay under way.
    """
    place = gallery.place
    if not place.owes and not intents.pending(place):
        return False
    with explained("erase from", gallery.url), place.guard.alone():
        if place.folder is None:
            _finish_remote(gallery)
            return True
        intents.remove_leftovers(place)
        under_way = list(intents.read(place))
        tables = _tables(gallery)
        for name in tables:
            roll_back(_folder(gallery, name), Checksums(place).read())
        for intent in under_way:
            _delete(gallery, intent)
        with rolled_back(place):
            for name, table in tables.items():
                _rewrite(table, _folder(gallery, name))
        traces = Traces(trace for intent in under_way for trace in intent.traces)
        if left := _left(gallery, traces):
            for name, table in tables.items():
                _drop_indices(table, [file for file in left if file.is_relative_to(_folder(gallery, name))])
            left = _left(gallery, traces)
        if left:
            raise TracesLeftError(f"Something of what was erased is still in {left[0]}. Please report this defect.")
        Checksums(place).renew()
        for intent in under_way:
            intents.end(place, intent)
        place.owes = False
    return bool(under_way)


def of_sources(*sources: str) -> dict[str, str]:
    """Conditions of `erase` for all that sources brought.

    Args:
        sources: Their names, or URLs with passwords.
    """
    from lancedb.expr import col

    condition: str = col("source").isin(sorted({*sources, *map(without_login, sources)})).to_sql()
    return dict.fromkeys((FRAMES, SIGHTINGS, PEOPLE), condition)


def of_changed(gallery: Opened, current: Mapping[str, str]) -> dict[str, str]:
    """Conditions of `erase` for what sources brought when their files had another content; none if nothing did.

    Args:
        gallery: Which.
        current: Source → SHA-256 of its file as it is now.
    """
    from lancedb.expr import col

    among, changed = col("source").isin(sorted(current)), set[str]()
    for table in _tables(gallery).values():  # of a frame cut off half-way there are only people
        rows = retried(table.search().where(among).select(["source", "sha256"]).to_arrow)
        pairs = zip(rows["source"].to_pylist(), rows["sha256"].to_pylist(), strict=True)
        changed |= {source for source, sha256 in pairs if sha256 != current[source]}
    if not changed:
        return {}
    olds = [col("source").isin([each]) & ~col("sha256").isin([current[each]]) for each in sorted(changed)]
    condition = " OR ".join(f"({old.to_sql()})" for old in olds)
    return dict.fromkeys((FRAMES, SIGHTINGS, PEOPLE), condition)


def _tables(gallery: Opened) -> dict[str, Any]:
    """By name, in the order of deletion.

    Frames go first: cut off then, the source is not taken for done. People go last: as long as there are some, the
    source has a name.
    """
    people, frames = gallery.tables
    sightings = {} if gallery.sightings is None else {SIGHTINGS: gallery.sightings}
    return {FRAMES: frames, **sightings, PEOPLE: people}


def _folder(gallery: Opened, name: str) -> Path:
    assert gallery.place.folder is not None
    return gallery.place.folder / f"{name}.lance"


def _delete(gallery: Opened, intent: Intent) -> None:
    if intent.stones:
        reached("put up the tombstone")
        gallery.place.tombstones.add(*intent.stones)
    if not intent.conditions:
        return
    for name, table in _tables(gallery).items():
        if condition := intent.conditions.get(name):
            reached(f"delete {name}")
            if gallery.place.folder is None:
                known, found = gallery.place.partly.get(name, set()), bucket.delete(gallery.url, table, condition)
                gallery.place.partly[name] = None if known is None or found is None else known | found
            else:
                retried(partial(table.delete, condition))
    gallery.place.begun.add(intent.name)
    intents.rows_gone(gallery.place, intent)


def _rewrite(table: Any, folder: Path) -> None:
    """Move what lies beside deleted rows to other files, renew what holds them, and leave one version."""
    before = latest(folder)
    _move(table, before.deleted_in)
    require_whole(folder)
    reached(f"update indices of {table.name}")
    retried(table.optimize)
    now = latest(folder).indices
    for index_name in sorted({index for part, index in now.items() if part in before.indices}):
        reached(f"drop {table.name}.{index_name}")
        retried(partial(table.drop_index, index_name))
    _last_word(table, folder)


def _finish_remote(gallery: Opened) -> None:
    """What `finish` does, where files are not to be seen: LanceDB removes older versions, by the clock."""
    place = gallery.place
    under_way = list(intents.read(place))
    for intent in under_way:
        if intent.name not in place.begun:  # who began it knew where the rows were that it has deleted
            place.partly = dict.fromkeys(_tables(gallery))
        _delete(gallery, intent)
    for name, table in _tables(gallery).items():
        _move(table, place.partly.get(name, set()))
        reached(f"remove versions of {name}")
        bucket.leave_one_version(table)
    for intent in under_way:
        intents.end(place, intent)
    place.owes, place.partly, place.begun = False, {}, set()


def _move(table: Any, fragments: Collection[int] | None) -> None:
    """Move all rows of fragments, or all there are, to others, so that nobody needs the files."""
    if fragments is None or fragments:
        reached(f"rewrite {table.name}")
        ends = ((number << FRAGMENT_BITS, (number + 1) << FRAGMENT_BITS) for number in sorted(fragments or ()))
        inside = " OR ".join(f"(_rowid >= {first} AND _rowid < {end})" for first, end in ends)
        retried(partial(table.update, where=inside or "source IS NOT NULL", values_sql={"source": "source"}))


def _last_word(table: Any, folder: Path) -> None:
    """The log of the last commit stays, and this one tells of nobody."""
    reached(f"last commit of {table.name}")
    retried(lambda: table.delete(NOTHING))
    if latest(folder).deleted_in:
        raise GalleryError(f"LanceDB left deleted rows in {folder}. Please report this as a defect.")
    sweep(folder, versions_too=True)


def _drop_indices(table: Any, left: list[Path]) -> None:
    """Drop all indices where one holds a trace: a partition of one embedding has it for its centre."""
    if not any("_indices" in file.parts for file in left):
        return
    folder = left[0]
    while folder.suffix != ".lance" or not (folder / "_versions").is_dir():
        folder = folder.parent
    for index in table.list_indices():
        reached(f"drop {table.name}.{index.name}")
        retried(partial(table.drop_index, index.name))
    _last_word(table, folder)


def _left(gallery: Opened, traces: Traces) -> list[Path]:
    """Files that hold traces of what no row holds."""
    reached("verify")
    place, found = gallery.place, dict[Path, set[bytes]]()
    for table in place.tables():
        for file in files_of(table):
            if within := traces.within_file(table / file):
                found[table / file] = within
    if not found:
        return []
    suspects = Traces(trace for within in found.values() for trace in within)
    kept = set[bytes]()  # by rows that stay: copies of a picture, or names that contain the name
    for rows in _staying(gallery):
        kept |= suspects.within(b"\0".join(_told(rows, whole=True)))
        if len(kept) == len(suspects):  # often soon: the name of a camera is in most rows
            break
    return [file for file, within in found.items() if within - kept]


def _staying(gallery: Opened) -> "Iterator[pa.RecordBatch]":
    """All rows, their names first: those are quick to read."""
    for columns in (_NAMES, _CONTENTS):
        for table in _tables(gallery).values():
            if here := [name for name in columns if name in table.schema.names]:
                yield from table.search().select(here).to_batches(1024)


def _traces(table: Any, condition: str) -> Iterator[bytes]:
    """What tells of the rows that fulfil a condition."""
    total = int(retried(lambda: table.count_rows(condition)))
    step, at = max(1, total // _LOOKED_FOR), 0
    columns = [name for name in (*_NAMES, *_CONTENTS) if name in table.schema.names]
    for rows in table.search().where(condition).select(columns).to_batches(1024):
        yield from _told(rows.take(list(range(-at % step, len(rows), step))))
        at += len(rows)


def _told(rows: "pa.RecordBatch", *, whole: bool = False) -> Iterator[bytes]:
    """What rows tell, column by column: traces of it, or the whole."""
    import pyarrow as pa

    table = pa.Table.from_batches([rows])
    for column in table.column_names:
        if column == "embedding":
            vectors = embeddings_of(table)
            yield from (vectors.tobytes(), unit_vectors(vectors).tobytes()) if whole else vector_traces(vectors)
        elif column == "thumbnail":
            pictures = table[column].to_pylist()
            yield from pictures if whole else map(picture_trace, pictures)
        elif column == "best":
            yield from (person.encode() for people in table[column].to_pylist() for person in people)
        else:
            yield from {str(value).encode() for value in table[column].to_pylist() if value}
