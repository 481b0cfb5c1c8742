"""Erasures that are under way, each a note that outlives its process: the journal."""

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.tombstones import Tombstone, read_tombstone

_SUFFIX = ".erasure"


@dataclass(frozen=True)
class Intent:
    """What is to be erased.

    Attributes:
        reason: A word for whoever reads of it: `forget`, `changed`.
        conditions: Table → SQL of the rows that are to go; empty once they are gone.
        traces: What must not be found in any file afterwards.
        stones: What keeps sources out from then on.
        name: Of the note.
    """

    reason: str
    conditions: dict[str, str]
    traces: tuple[bytes, ...] = ()
    stones: tuple[Tombstone, ...] = ()
    name: str = field(default_factory=lambda: uuid.uuid4().hex)


def write(place: Place, intent: Intent) -> None:
    """Put an intent on the disk, or in place of itself; from then on the erasure will be finished.

    Raises:
        OSError: It cannot be written, and is not begun.
    """
    if place.notes is None:
        return
    reached(f"intend {intent.reason}")
    told = {**asdict(intent), "traces": [base64.b64encode(trace).decode() for trace in intent.traces]}
    place.notes.change(f"{intent.name}{_SUFFIX}", lambda _: json.dumps(told), step="put the intent in place")


def rows_gone(place: Place, intent: Intent) -> Intent:
    """Remember that the rows are deleted: what has the same condition from now on is of later, and stays."""
    gone = replace(intent, conditions={})
    write(place, gone)
    return gone


def end(place: Place, intent: Intent) -> None:
    """Forget the intent itself."""
    if place.notes is None:
        return
    reached("end")
    place.notes.remove(f"{intent.name}{_SUFFIX}")


def pending(place: Place) -> list[str]:
    """Names of the notes of erasures that are not finished."""
    return [] if place.notes is None else place.notes.names(_SUFFIX)


def read(place: Place) -> Iterator[Intent]:
    """The erasures that are not finished.

    Raises:
        GalleryError: A file is damaged.
        OSError: It cannot be read.
    """
    for note in pending(place):
        assert place.notes is not None
        text = place.notes.read(note)
        if text is None:  # another has finished it
            continue
        try:
            told = json.loads(text)
            traces = tuple(base64.b64decode(trace) for trace in told["traces"])
            of_older = [told["stone"]] if told.get("stone") else []  # an older version put up one at most
            stones = tuple(map(read_tombstone, told.get("stones", of_older)))
            name = note.removesuffix(_SUFFIX)
            yield Intent(str(told["reason"]), dict(told["conditions"]), traces, stones, name)
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryError(
                f"The note {note}, which the gallery keeps beside its tables, tells of an erasure that was cut off and "
                "is damaged. Remove it, and forget again what was to be forgotten."
            ) from error


def remove_leftovers(place: Place) -> None:
    """Remove what a process that was killed left while it wrote an intent. For who has the gallery alone."""
    for path in leftovers(place):
        path.unlink(missing_ok=True)


def leftovers(place: Place) -> list[Path]:
    """Files that a killed process had not yet given their names: intents among them, which tell of whom they are."""
    return [] if place.keeping is None else sorted(place.keeping.glob(".*"))
