"""Where a gallery lies: the folders of its tables, and beside them what keeps them in order."""

from pathlib import Path

from mgts_trt.gallery.disk.notes import FolderNotes, Notes
from mgts_trt.gallery.disk.sweep import require_whole
from mgts_trt.gallery.disk.tombstones import Tombstones
from mgts_trt.gallery.disk.writers import Guard

KEEPING = "_keeping"
"""Folder in a gallery: locks, checksums, erasures that are under way. LanceDB looks into folders `*.lance` alone."""


class Place:
    """A gallery's folder.

    Args:
        location: See `lance.locate`.
        notes: Of a gallery that is no folder, where it keeps them; None is nowhere.

    Attributes:
        folder: None of a gallery that is no folder: then there are no locks and no checksums.
        notes: What it keeps of itself; None where nothing is kept.
        guard: Who writes.
        looked: Whether this process has looked for erasures that another left half done.
        tombstones: What stays out because it was forgotten.
        owes: Whether it has deleted rows whose bytes are to be erased later.
        partly: Of a gallery that is no folder: table → numbers of the fragments in which it has deleted rows;
            None where it cannot tell.
        begun: Of a gallery that is no folder: names of the erasures of which `partly` tells.
    """

    def __init__(self, location: str, notes: Notes | None = None) -> None:
        self.folder = None if "://" in location else Path(location)
        self.guard = Guard(self.keeping)
        self.notes = notes if self.keeping is None else FolderNotes(self.keeping)
        self.tombstones = Tombstones(self.notes)
        self.looked, self.owes = False, False
        self.partly, self.begun = dict[str, set[int] | None](), set[str]()

    @property
    def keeping(self) -> Path | None:
        """The folder of what keeps the gallery in order; it need not exist."""
        return None if self.folder is None else self.folder / KEEPING

    def tables(self) -> list[Path]:
        """The folders of the tables that are there."""
        return [] if self.folder is None else sorted(self.folder.glob("*.lance"))

    def require_whole(self) -> None:
        """Before what says that rows are there: refuse newest versions that name a file which was cut short.

        Raises:
            GalleryError: One does, and it says which.
        """
        for table in self.tables():
            require_whole(table)
