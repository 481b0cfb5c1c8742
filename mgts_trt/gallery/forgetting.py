"""Sources that are forgotten: erased, and kept out from then on; and let in again."""

from collections.abc import Iterable
from pathlib import Path

from mgts_trt.gallery import erasure
from mgts_trt.gallery.erasure import Erased, KeptOut
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.opened import Opened, Placed
from mgts_trt.gallery.source_names import readings
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTINGS
from mgts_trt.gallery.watched import forget_killed
from mgts_trt.gallery.writing import finish
from mgts_trt.machine.files import file_sha256
from mgts_trt.urls import without_login


def forget(gallery: Opened, source: str) -> Erased:
    """Erase all that a source brought; neither it nor a copy of its files is indexed again until `recall`.

    Args:
        gallery: Which.
        source: Its name in the gallery.

    Raises:
        GalleryError: See `erasure.erase`.
    """
    finish(gallery)  # what another process left half done, which may be of this very source
    out = KeptOut(without_login(source), contents_of(gallery, source))
    erased = erasure.erase(gallery, erasure.of_sources(source), "forget", keep_out=[out])
    forget_killed(gallery.url)  # they tell the addresses of streams
    return erased


def contents_of(gallery: Opened, source: str) -> set[str]:
    """SHA-256 of each content that a source has in a gallery.

    Raises:
        GalleryError: It cannot be read.
    """
    conditions, contents = erasure.of_sources(source), set[str]()
    with explained("read", gallery.url):
        for table in (*gallery.tables, *([] if gallery.sightings is None else [gallery.sightings])):
            query = table.search().where(conditions[table.name]).select(["sha256"])
            contents |= set(retried(query.to_arrow)["sha256"].to_pylist())
    return contents


def recall(gallery: Placed, source: str) -> int:
    """Let a source in that was forgotten; returns how many there were of that name, or of that content.

    Args:
        gallery: Which.
        source: Its name as it was in the gallery; or a path or URL as `index` takes it.

    Raises:
        GalleryError: It cannot be written.
    """
    path = Path(source)
    content = file_sha256(path) if "://" not in source and path.is_file() else ""
    return lift(gallery, readings(source), content)


def lift(gallery: Placed, names: Iterable[str], content: str = "") -> int:
    """The same, of names as they were in the gallery, and a file's content; returns how many there were.

    Args:
        gallery: Which.
        names: That may be of a source.
        content: SHA-256 of a file, in hexadecimal; empty if none is told.

    Raises:
        GalleryError: It cannot be written.
    """
    with explained("write to", gallery.url), gallery.place.guard.alone():
        return sum(gallery.place.tombstones.lift(name, content) for name in dict.fromkeys(names) or [""])


def withdraw(gallery: Opened, written: Iterable[tuple[str, str]]) -> None:
    """Erase again what was forgotten while it was written, in a bucket, where nobody is held off meanwhile.

    Whoever forgets puts up the tombstone before deleting, and whoever writes asks for it after writing: one of the two
    sees the other. What a writer leaves that was killed between, `withdraw_all` finds.

    Args:
        gallery: Which.
        written: Source and SHA-256 of what was written.

    Raises:
        GalleryError: See `erasure.erase`.
    """
    from lancedb.expr import col

    if gallery.place.folder is not None:
        return
    with explained("read", gallery.url):
        pairs = sorted(set(written))
        kept = set(gallery.place.tombstones.let_in(pairs, lambda pair: pair))
    if gone := [pair for pair in pairs if pair not in kept]:
        each = [col("source").isin([source]) & col("sha256").isin([sha256]) for source, sha256 in gone]
        condition = " OR ".join(f"({those.to_sql()})" for those in each)
        erasure.erase(gallery, dict.fromkeys((FRAMES, SIGHTINGS, PEOPLE), condition), "forget")


def withdraw_all(gallery: Opened) -> None:
    """Erase all that was forgotten and is in a bucket again, left by writers that were killed.

    Raises:
        GalleryError: See `erasure.erase`.
    """
    if gallery.place.folder is not None or not len(gallery.place.tombstones):
        return
    pairs = set[tuple[str, str]]()
    with explained("read", gallery.url):
        for table in (*gallery.tables, *([] if gallery.sightings is None else [gallery.sightings])):
            rows = retried(table.search().select(["source", "sha256"]).to_arrow)
            both = rows.group_by(["source", "sha256"]).aggregate([])
            pairs |= set(zip(both["source"].to_pylist(), both["sha256"].to_pylist(), strict=True))
    withdraw(gallery, pairs)
