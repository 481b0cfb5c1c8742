"""Files of tables that no version names: found, and removed."""

import os
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.manifests import FOLDERS, Manifest, latest, read_manifest, versions
from mgts_trt.gallery.disk.steps import reached

_MARK = b"LANC"
"""With which each of LanceDB's files ends."""

_HINT = "_versions/latest_version_hint.json"


def files_of(table: Path) -> Iterator[str]:
    """Files that LanceDB keeps for a table, as paths in its folder."""
    for folder in FOLDERS:
        for path, _, names in os.walk(table / folder):
            below = path.removeprefix(str(table)).strip("/")
            yield from (f"{below}/{name}" for name in names)


def orphans(table: Path, *, of: Iterable[Manifest] | None = None) -> list[str]:
    """Files that no version of a table names, as paths in its folder, in order.

    A writer's files are among them until it has committed: see `Guard.alone`.

    Args:
        table: Its folder.
        of: The versions; by default, all there are.

    Raises:
        GalleryError: A manifest is damaged.
    """
    named = list(map(read_manifest, versions(table)) if of is None else of)
    newest = named[0].files if named else frozenset[str]()
    left = [file for file in files_of(table) if file not in newest and file != _HINT]
    return sorted(file for file in left if not any(manifest.names(file) for manifest in named))


def missing(table: Path) -> list[str]:
    """Files that the newest version of a table names and that are not there."""
    there = set(files_of(table))
    folders = {"/".join(file.split("/")[:2]) for file in there}
    without_suffix = {file.rpartition(".")[0] for file in there if file.startswith("_deletions/")}
    return sorted(latest(table).files - there - folders - without_suffix - _told_inside(table))


def cut_short(table: Path, manifest: Manifest) -> list[str]:
    """Files of rows that a version names and that do not end as they should.

    Where a disk is full, LanceDB may name what it could not write to its end.
    """
    found = []
    for file in manifest.files:
        if file.startswith("data/") and (table / file).exists():
            with (table / file).open("rb") as opened:
                opened.seek(max(0, (table / file).stat().st_size - len(_MARK)))
                found += [file] if opened.read() != _MARK else []
    return sorted(found)


def require_whole(table: Path) -> None:
    """Refuse a newest version that names a file which was cut short.

    Raises:
        GalleryError: It does, and says which.
    """
    if broken := cut_short(table, latest(table)):
        raise GalleryError(
            f"The file {table / broken[0]} was cut short: the disk is or was full. Make room, and repeat."
        )


def roll_back(table: Path, listed: Container[str]) -> None:
    """Remove newest versions that name a file which was cut short. For who has the gallery alone.

    Args:
        table: Its folder.
        listed: Files with checksums, as `table.lance/path`: a version among them was whole once, and stays.
    """
    found = versions(table)
    for path in found[:-1]:
        name = f"{table.name}/_versions/{path.name}"
        if name in listed or not cut_short(table, read_manifest(path)):
            return
        (table / _HINT).unlink(missing_ok=True)  # it may name this version
        path.unlink()
        sync(path.parent)


def sweep(table: Path, *, versions_too: bool) -> int:
    """Remove the files of a table that no version names; returns how many. For who has the gallery alone.

    Args:
        table: Its folder.
        versions_too: Remove all versions but the newest, with what they alone name.

    Raises:
        GalleryError: The newest version names a file that is not there, or was cut short. Then nothing was removed.
        OSError: A file cannot be removed.
    """
    newest = latest(table)
    if lost := missing(table):
        raise GalleryError(f"The file {table / lost[0]} is missing: the gallery is damaged. Restore it from a copy.")
    require_whole(table)
    going = orphans(table, of=[newest] if versions_too else None)
    if versions_too and going:
        _let_reach_the_disk(table, newest)
    # Manifests first, the oldest first: cut off half-way, none names a file that is gone.
    for file in sorted(going, key=lambda name: (not name.startswith("_versions/"), name), reverse=False):
        reached(f"remove {table.stem}/{file.split('/')[0]}")
        with suppress(FileNotFoundError):
            (table / file).unlink()
    for folder in {(table / file).parent for file in going if file.startswith("_indices/")}:
        with suppress(OSError):
            folder.rmdir()
    for name in FOLDERS:
        if going and (table / name).is_dir():
            sync(table / name)
    return len(going)


def sync(path: Path) -> None:
    """Let a file's bytes, or a folder's names, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _let_reach_the_disk(table: Path, newest: Manifest) -> None:
    """LanceDB does not: a power cut must not find the old files gone and the new ones empty."""
    for file in files_of(table):
        if newest.names(file):
            sync(table / file)
    for name in FOLDERS:
        if (table / name).is_dir():
            sync(table / name)


def _told_inside(table: Path) -> set[str]:
    """Logs of transactions: a manifest holds its own besides, and does without the file."""
    return {file for file in latest(table).files if file.startswith("_transactions/")}
