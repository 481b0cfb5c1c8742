"""Where a gallery lies: the folders of its tables, and beside them what keeps them in order."""

from pathlib import Path

from mgts_trt.gallery.disk.tombstones import Tombstones
from mgts_trt.gallery.disk.writers import Guard

KEEPING = "_keeping"
"""Folder in a gallery: locks, checksums, erasures that are under way. LanceDB looks into folders `*.lance` alone."""


class Place:
    """A gallery's folder.

    Attributes:
        folder: None of a gallery that is no folder: then there are no locks, checksums or journals.
        guard: Who writes.
        looked: Whether this process has looked for erasures that another left half done.
        tombstones: What stays out because it was forgotten.
        owes: Whether it has deleted rows whose bytes are to be erased later.
        partly: Of a gallery that is no folder: table → numbers of the fragments in which it has deleted rows.
    """

    def __init__(self, location: str) -> None:
        self.folder = None if "://" in location else Path(location)
        self.guard = Guard(self.keeping)
        self.tombstones = Tombstones(self.keeping)
        self.looked, self.owes = False, False
        self.partly: dict[str, set[int]] = {}

    @property
    def keeping(self) -> Path | None:
        """The folder of what keeps the gallery in order; it need not exist."""
        return None if self.folder is None else self.folder / KEEPING

    def tables(self) -> list[Path]:
        """The folders of the tables that are there."""
        return [] if self.folder is None else sorted(self.folder.glob("*.lance"))
