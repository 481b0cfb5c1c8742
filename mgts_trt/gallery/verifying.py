"""Whether a gallery is as it should be: its files, its erasures, its rows; read, never changed."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import picture_key
from mgts_trt.gallery.day_part import no_gallery
from mgts_trt.gallery.disk import intents
from mgts_trt.gallery.disk.checksums import damaged
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.disk.sweep import missing, orphans
from mgts_trt.gallery.lance import locate, retried
from mgts_trt.gallery.store import Gallery, is_gallery
from mgts_trt.gallery.tables import SIGHTING


@dataclass
class Verification:
    """What a look at all of a gallery's files and rows found.

    Attributes:
        files: How many were compared with the checksums that were kept when they were committed.
        unlisted: Files without a checksum: of an older version of mgts-trt, until the gallery is written to again; or
            of a writer that was killed. They are no fault.
        damaged: Files whose bytes have changed since, or that cannot be read, as paths in the gallery.
        missing: Files that the gallery needs and that are not there.
        orphans: Files that belong to no version: a killed writer's. The next one removes them.
        under_way: Erasures that were cut off. The next writer finishes them.
        rows_without_frames: People of frames that are not done: the next `index` of their source does them.
        sightings_without_rows: Sightings nobody belongs to: the next `index` or `upgrade` makes them anew.
        unread: Why rows were not looked at; empty if they were.
    """

    files: int = 0
    unlisted: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    under_way: int = 0
    rows_without_frames: int = 0
    sightings_without_rows: int = 0
    unread: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        rows = self.rows_without_frames or self.sightings_without_rows
        return not (self.damaged or self.missing or self.orphans or self.under_way or rows or self.unread)


def verify(url: str | Path) -> Verification:
    """Look at all files and rows of a gallery. Writers wait while files are listed, and go on while they are read.

    Args:
        url: See `Gallery.open`. Of a gallery that is no folder, rows alone are looked at.

    Raises:
        GalleryError: There is none.
    """
    location = locate(url)
    place, found = Place(location), Verification()
    if place.folder is not None:
        if not is_gallery(location):
            raise no_gallery(location)
        _look_at_files(place, found)
    if not (found.damaged or found.missing):
        try:
            with Gallery.open(location) as gallery:
                found.under_way = len(intents.pending(gallery.place))
                _look_at_rows(gallery, found)
        except GalleryError as error:
            found.unread = str(error)
    else:
        found.unread = "Files are damaged or missing; rows were not looked at."
    return found


def _look_at_files(place: Place, found: Verification) -> None:
    with ExitStack() as guard:
        try:
            guard.enter_context(place.guard.alone())
        except OSError:  # what cannot be written in, nobody writes in
            guard.close()
        found.under_way = len(intents.pending(place))
        found.orphans += [f"{path.parent.name}/{path.name}" for path in intents.leftovers(place)]
        for table in place.tables():
            try:
                found.missing += [f"{table.name}/{file}" for file in missing(table)]
                found.orphans += [f"{table.name}/{file}" for file in orphans(table)]
            except (GalleryError, OSError) as error:
                found.damaged.append(f"{table.name}: {error}")
    wrong = damaged(place)
    found.damaged += wrong.files
    found.files, found.unlisted = wrong.read, wrong.unlisted


def _look_at_rows(gallery: Gallery, found: Verification) -> None:
    if gallery.encryption and not picture_key.is_there(gallery):
        found.missing.append(f"{picture_key.TABLE}.lance")
    people, frames = gallery.tables
    done = _values(frames, "key")
    found.rows_without_frames = _count_outside(people, "frame", done)
    if gallery.sightings is not None:
        seen = _values(people, SIGHTING)
        found.sightings_without_rows = _count_outside(gallery.sightings, "id", seen)


def _values(table: Any, column: str) -> Any:
    import pyarrow.compute as pc

    return pc.unique(retried(table.search().select([column]).to_arrow)[column])


def _count_outside(table: Any, column: str, values: Any) -> int:
    """How many rows have another value."""
    import pyarrow.compute as pc

    rows = retried(table.search().select([column]).to_arrow)[column]
    return len(rows) - int(pc.sum(pc.is_in(rows, value_set=values)).as_py() or 0)
