"""What every writer of a gallery does before and after a commit."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mgts_trt.gallery import erasure
from mgts_trt.gallery.disk import intents
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import roll_back, sweep
from mgts_trt.gallery.lance import explained
from mgts_trt.gallery.opened import Opened

logger = logging.getLogger("mgts_trt.gallery")


@contextmanager
def writing(gallery: Opened, doing: str = "write to") -> Iterator[None]:
    """Write to a gallery beside other writers, while nobody erases; what was committed gets its checksums.

    The first time, erasures that another process left half done are finished, and files that a killed one left are
    removed. A thread may write inside of what it writes.

    Args:
        gallery: Which.
        doing: What errors say was being done: see `explained`.

    Raises:
        GalleryError: It cannot be written.
    """
    with explained(doing, gallery.url):
        tidy(gallery)
        inside = gallery.place.guard.held
        with gallery.place.guard.shared():
            try:
                yield
                if gallery.place.folder is not None and not inside:
                    reached("record checksums")
                    gallery.checksums.record()
            except BaseException:
                gallery.place.looked = False  # it may have left what the next one is to clear up
                raise


def tidy(gallery: Opened) -> None:
    """Clear up after others, once in a process's use of a gallery, and after what failed in it.

    Versions go that name a file which was cut short: LanceDB commits such where a disk is full.

    Raises:
        GalleryError: An erasure that was cut off cannot be finished.
    """
    place = gallery.place
    if place.looked or place.guard.held:
        return
    finish(gallery)
    place.looked = True
    if place.folder is None:
        return
    with place.guard.alone(wait=False) as alone:
        if alone:  # else whoever writes now has files that no version names yet
            intents.remove_leftovers(place)
            listed = gallery.checksums.read()
            for table in place.tables():
                roll_back(table, listed)
                sweep(table, versions_too=False)


def finish(gallery: Opened) -> bool:
    """Finish the erasures that are under way; returns whether there were any.

    One that leaves something behind is told, and keeps nobody from writing.

    Raises:
        GalleryError: One cannot be finished.
    """
    try:
        return erasure.finish(gallery)
    except erasure.TracesLeftError as error:
        logger.error("%s", error)
        return True


def renew_checksums(gallery: Opened) -> None:
    """Leave files that have gone out of the list of checksums, or it grows for ever; where somebody writes, later."""
    with suppress(OSError), gallery.place.guard.alone(wait=False) as alone:  # or the file system knows no locks
        if alone and gallery.place.folder is not None:
            gallery.checksums.renew()


def warn(gallery: Opened) -> None:
    """Tell a reader of an erasure that was cut off."""
    if intents.pending(gallery.place):
        logger.warning(
            "An erasure from %s is under way or was cut off; what it is to erase may still be found. Whoever writes to "
            "the gallery next finishes it: mgts-trt gallery optimise.",
            gallery.url,
        )
