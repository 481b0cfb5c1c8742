"""LanceDB behind a gallery: where it is, commits that other writers contend for, and its errors in our words."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.checksums import damaged
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.late_checks import built_when_called
from mgts_trt.gallery.privacy import keep_gallery_private
from mgts_trt.machine.main_memory import give_back
from mgts_trt.urls import file_path, masked, url_fault, without_login

T = TypeVar("T")

SCHEMES = ("s3", "gs", "az", "db")
"""Of URLs at which LanceDB keeps a gallery."""

_METADATA_BYTES = 32 << 20
"""Cache for what describes versions and files. Each commit makes a version, which would fill LanceDB's own GiB."""

_PATIENCE = {"conflict": 20, "concurrent": 20, "not found": 4, "no such file": 4}
"""Attempts, by what the message of a call that another process overtook says.

It committed first; or it removed an older version, which the next attempt does not need. A deleted gallery looks
like the latter, and is not worth waiting for.
"""


def locate(url: str | Path) -> str:
    """The absolute path of a local gallery, or the URL of another.

    Args:
        url: A path, `file://…`, or a URL with one of `SCHEMES`.

    Raises:
        GalleryError: It is empty, or no URL.
    """
    text = str(url)
    if not text:
        raise GalleryError("The gallery's place is empty. Name a folder, or a URL such as s3://bucket/gallery.")
    if text.startswith("file:"):
        text = file_path(text)
    if fault := url_fault(text):
        raise GalleryError(f"There is no gallery at {without_login(text)}. {fault}")
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def is_local(location: str) -> bool:
    """Whether a location, as `locate` gives it, is a folder."""
    return "://" not in location


def connect(location: str) -> Any:
    """The LanceDB database at a location; a local folder is made, its owner's alone.

    Raises:
        GalleryError: LanceDB is not installed, or cannot connect.
    """
    try:
        with built_when_called():
            import lancedb
    except ImportError as error:
        raise GalleryError(
            f"A gallery needs the package lancedb, which is not installed ({error}): pip install 'mgts-trt[gallery]'"
        ) from error
    with explained("open", location):
        if is_local(location):
            keep_gallery_private(Path(location))
        session = lancedb.Session(metadata_cache_size_bytes=_METADATA_BYTES)
        # Every read looks for what others wrote meanwhile.
        return lancedb.connect(location, read_consistency_interval=timedelta(0), session=session)


def give_back_memory() -> None:
    """Give memory that was freed back to the system; Arrow keeps what it took for rows on their way, glibc for all."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    give_back()


def retried(call: Callable[[], T]) -> T:
    """Call again, for up to about half a minute, while other processes overtake; LanceDB itself tries several times."""
    attempt = 0
    while True:
        try:
            return call()
        except (RuntimeError, OSError, ValueError) as error:
            attempt += 1
            text = str(error).lower()
            if attempt >= max((tries for word, tries in _PATIENCE.items() if word in text), default=1):
                raise
        time.sleep(random.uniform(0, min(3.0, 0.05 * 2**attempt)))


def queried(table: Any, build: Callable[[Any], Any]) -> Any:
    """The rows, as an Arrow table, of a query of a table.

    LanceDB's blocking query asks for the schema three times and goes to its thread and back for each and for every
    batch: a third of the time that a query of a small table takes. Here all of it is one errand.

    Args:
        table: Which.
        build: Gives the query of LanceDB's asynchronous table that lies under it.
    """
    from lancedb.background_loop import LOOP

    async def ask() -> Any:
        return await build(table._table).to_arrow()

    run: Callable[[Any], Any] = LOOP.run
    return run(ask())


def merge_by(key: str, table: Any) -> Any:
    """A merge of rows into a table: those whose key it has are replaced, the others added."""
    return table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()


@contextmanager
def explained(doing: str, location: str) -> Iterator[None]:
    """What LanceDB raises inside, as a `GalleryError` that says what was being done to the gallery at a location."""
    try:
        yield
    except GalleryError:
        raise
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        reason = masked((str(error).splitlines() or [type(error).__name__])[0], location)
        explanation = GalleryError(
            f"Cannot {doing} the gallery {location}: {reason}. Check the place, its permissions and the free space."
        )
        # The cause is shown with it, and must not tell a password either.
        raise explanation from (error if masked(str(error), location) == str(error) else None)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # LanceDB's, of data it did not expect; it is no Exception
            raise
        wrong = [] if not is_local(location) else damaged(Place(location)).files
        which = f"the file {Path(location) / wrong[0]} is damaged" if wrong else "what it holds is damaged"
        raise GalleryError(
            f"Cannot {doing} the gallery {location}: {which}. Restore it from a copy; `mgts-trt gallery verify` tells "
            "of every file."
        ) from error
