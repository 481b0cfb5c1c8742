"""Erasures that are under way, each a file that outlives its process: the journal."""

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import sync
from mgts_trt.gallery.disk.tombstones import Tombstone, read_tombstone
from mgts_trt.machine.files import replace_file

_SUFFIX = ".erasure"


@dataclass(frozen=True)
class Intent:
    """What is to be erased.

    Attributes:
        reason: A word for whoever reads of it: `forget`, `changed`.
        conditions: Table → SQL of the rows that are to go; empty once they are gone.
        traces: What must not be found in any file afterwards.
        stones: What keeps sources out from then on.
        name: Of the file.
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
    if place.keeping is None:
        return
    reached(f"intend {intent.reason}")
    place.keeping.mkdir(mode=0o700, exist_ok=True)
    told = {**asdict(intent), "traces": [base64.b64encode(trace).decode() for trace in intent.traces]}
    with replace_file(place.keeping / f"{intent.name}{_SUFFIX}", sync=True) as temporary:
        temporary.touch(0o600, exist_ok=False)
        temporary.write_text(json.dumps(told), encoding="utf-8")
        reached("put the intent in place")
    sync(place.keeping)


def rows_gone(place: Place, intent: Intent) -> Intent:
    """Remember that the rows are deleted: what has the same condition from now on is of later, and stays."""
    gone = replace(intent, conditions={})
    write(place, gone)
    return gone


def end(place: Place, intent: Intent) -> None:
    """Forget the intent itself."""
    if place.keeping is None:
        return
    reached("end")
    (place.keeping / f"{intent.name}{_SUFFIX}").unlink(missing_ok=True)
    sync(place.keeping)


def pending(place: Place) -> list[Path]:
    """Files of the erasures that are not finished."""
    return [] if place.keeping is None else sorted(place.keeping.glob(f"*{_SUFFIX}"))


def read(place: Place) -> Iterator[Intent]:
    """The erasures that are not finished.

    Raises:
        GalleryError: A file is damaged.
        OSError: It cannot be read.
    """
    for path in pending(place):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            traces = tuple(base64.b64decode(trace) for trace in told["traces"])
            of_older = [told["stone"]] if told.get("stone") else []  # an older version put up one at most
            stones = tuple(map(read_tombstone, told.get("stones", of_older)))
            name = path.name.removesuffix(_SUFFIX)
            yield Intent(str(told["reason"]), dict(told["conditions"]), traces, stones, name)
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryError(
                f"The file {path} tells of an erasure that was cut off, and is damaged. Remove it, and forget again "
                "what was to be forgotten."
            ) from error


def remove_leftovers(place: Place) -> None:
    """Remove what a process that was killed left while it wrote an intent. For who has the gallery alone."""
    for path in leftovers(place):
        path.unlink(missing_ok=True)


def leftovers(place: Place) -> list[Path]:
    """Files that a killed process had not yet given their names: intents among them, which tell of whom they are."""
    return [] if place.keeping is None else sorted(place.keeping.glob(".*"))
