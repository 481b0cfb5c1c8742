"""Pictures in buckets and on other remote storage, through fsspec."""

import glob
from pathlib import PurePosixPath
from typing import Any

from mgts_trt.errors import ImageError, SourceError
from mgts_trt.pictures.kinds import PICTURE_SUFFIXES
from mgts_trt.urls import masked


def find_remote(url: str) -> list[str]:
    """The pictures at a URL: the file itself, all in a folder and below it, or those that match a pattern; sorted.

    Args:
        url: Of any storage that fsspec knows: `s3://`, `gs://`, `az://`, `hdfs://`, `sftp://` …

    Raises:
        SourceError: fsspec, or its part for this storage, is not installed; or there is nothing, or no access.
    """
    storage, path = _storage(url)
    # What comes before a path: `s3://`, and of some storages the host.
    prefix = url.rstrip("/").removesuffix(path)
    try:
        if glob.has_magic(path):
            files = storage.glob(path)
        elif storage.isfile(path):
            return [url]
        else:
            files = storage.find(path)
    except Exception as error:  # of as many kinds as there are storages
        raise SourceError(
            f"Cannot list {url}: {_told(error, url)}. Check its spelling, the network, and the credentials "
            "this machine has."
        ) from _cause(error, url)
    found = sorted(prefix + file for file in files if PurePosixPath(file).suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise SourceError(
            f"There is no picture ({', '.join(sorted(PICTURE_SUFFIXES))}) in {url}. Check its spelling; videos must be "
            "copied to this machine, or mounted."
        )
    return found


def read_remote(url: str) -> bytes:
    """The content of a remote file, which is not empty.

    Raises:
        ImageError: It is empty, not there, or cannot be read.
        SourceError: fsspec, or its part for this storage, is not installed.
    """
    storage, path = _storage(url)
    try:
        data = bytes(storage.cat_file(path))
    except FileNotFoundError:
        raise ImageError(f"There is no file {url}. Check its spelling.") from None
    except Exception as error:  # of as many kinds as there are storages
        raise ImageError(f"Cannot read {url}: {_told(error, url)}. Check the network and the credentials.") from _cause(
            error, url
        )
    if not data:
        raise ImageError(f"{url} is empty (0 bytes), but a picture is expected. Copy it there again.")
    return data


def _storage(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise SourceError(
            f"Reading {url} needs the package fsspec, which is not installed ({error}): pip install 'mgts-trt[gallery]'"
        ) from error
    try:
        storage, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{url} cannot be read: {masked(str(error), url).rstrip('.')}. Name storage that fsspec knows, and install "
            "its package."
        ) from _cause(error, url)
    return storage, str(path)


def _told(error: Exception, url: str) -> str:
    lines = masked(str(error), url).splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _cause(error: Exception, url: str) -> Exception | None:
    """What an error is shown to come from: it must not tell a password either."""
    return error if masked(str(error), url) == str(error) else None
