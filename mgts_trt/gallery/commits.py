"""Frames into a gallery commit by commit, and the gallery optimised now and then."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mgts_trt.gallery.entry import Entry
from mgts_trt.gallery.sighting import Sighting

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

OPTIMISE_EVERY = 256
"""Calls of `Gallery.add` after which whoever makes many should call `Gallery.optimise`: each leaves small files."""


class Commits:
    """What every writer of a gallery does with a batch; how batches gather is its own affair.

    Args:
        gallery: Where to.
        optimise: Called after every so many commits: `Gallery.optimise`, or what has another thread call it; None
            leaves the gallery as it is.
        every: How many.
    """

    def __init__(self, gallery: "Gallery", optimise: Callable[[], object] | None, every: int = OPTIMISE_EVERY) -> None:
        self._gallery, self._optimise, self._every = gallery, optimise, every
        self.count = 0

    def add(self, entries: Sequence[Entry], sightings: Sequence[Sighting] = ()) -> None:
        """Store a batch with one commit, and the sightings that it begins or goes on with.

        Raises:
            GalleryError: See `Gallery.add`; the batch does not count then.
        """
        self._gallery.add(entries, sightings)
        self.count += 1
        if self._optimise is not None and not self.count % self._every:
            self._optimise()
