"""Where a gallery keeps the key of its pictures, wrapped: a table of its own with one row, in a folder or a bucket."""

import warnings
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from mgts_trt.errors import GalleryError, SealedError
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import files_of, sweep
from mgts_trt.gallery.encryption import new_wrapped
from mgts_trt.gallery.lance import connect, explained, merge_by, retried
from mgts_trt.gallery.opened import Opened
from mgts_trt.gallery.tables import key_field
from mgts_trt.gallery.writing import renew_checksums, writing

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "picture_keys"
_ID = "pictures"


def make(database: Any, master: bytes) -> None:
    """Make a key for a gallery that is being made, or leave the one that is there.

    Args:
        database: LanceDB's.
        master: 32 bytes that wrap it.
    """
    retried(partial(database.create_table, TABLE, data=_row(new_wrapped(master)), exist_ok=True))


def read(database: Any, location: str) -> bytes:
    """The wrapped key.

    Raises:
        GalleryError: There is none.
    """
    with explained("read the key of the pictures of", location):
        try:
            found = retried(database.open_table(TABLE).search().where(f"id = '{_ID}'").select(["wrapped"]).to_arrow)
        except (ValueError, RuntimeError) as error:
            if "not found" not in str(error).lower():
                raise
            found = None
        if not found:
            raise GalleryError(
                f"The gallery {location} has lost the key of its pictures, the table {TABLE}, and nobody can read them "
                "without it. Bring that back from a copy, or index into a new gallery."
            )
        key: bytes = found["wrapped"][0].as_py()
        return key


def is_there(gallery: Opened) -> bool:
    """Whether a gallery with encrypted pictures has their key, which anybody may ask."""
    try:
        return bool(read(connect(gallery.url), gallery.url))
    except GalleryError:
        return False


def rekey(gallery: Opened, master: bytes) -> None:
    """Have another master key open the pictures, and the old one no longer; no picture is touched.

    The key as the old one wrapped it goes from the disk, too. Cut off, this is called again, if need be with the new
    key as the old one.

    Args:
        gallery: Opened with the key that it has now.
        master: The new one, 32 bytes.

    Raises:
        SealedError: Its pictures are not encrypted, or the key it was opened with is not its own.
        GalleryError: It cannot be written.
    """
    if not gallery.encryption:
        raise SealedError(f"The pictures in the gallery {gallery.url} are not encrypted, and have no key to change.")
    database = connect(gallery.url)
    old, new = read(database, gallery.url), gallery.encryption.rewrapped(master)
    with writing(gallery):
        table = database.open_table(TABLE)
        reached("rekey")
        retried(lambda: merge_by("id", table).execute(_row(new)))
    with explained("write to", gallery.url), gallery.place.guard.alone():
        if gallery.place.folder is None:
            with warnings.catch_warnings():
                # It warns of taking older versions away from other processes; those read again, see `retried`.
                warnings.simplefilter("ignore", UserWarning)
                retried(partial(table.optimize, cleanup_older_than=timedelta(0)))
            return
        retried(table.optimize)
        folder = gallery.place.folder / f"{TABLE}.lance"
        reached("remove the old key")
        sweep(folder, versions_too=True)
        if any(old in (folder / file).read_bytes() for file in files_of(folder)):
            raise GalleryError(f"The key as it was is still in {folder}. Please report this defect.")
    renew_checksums(gallery)


def _row(wrapped: bytes) -> "pa.Table":
    import pyarrow as pa

    schema = pa.schema([key_field("id"), pa.field("wrapped", pa.binary(), nullable=False)])
    return pa.Table.from_pylist([{"id": _ID, "wrapped": wrapped}], schema=schema)
