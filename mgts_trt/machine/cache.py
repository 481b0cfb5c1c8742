"""What may be thrown away and made again, kept between runs in the user's cache folder."""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from mgts_trt.machine.files import replace_file
from mgts_trt.machine.locks import locked

VARIABLE = "MGTS_TRT_CACHE"
"""Environment variable that names the cache folder, or switches caching `off`."""

OFF = "off"
LIMIT = 256 << 20
"""Bytes one kind of cache may take."""

_MAGIC = b"mgts-trt cache 1\n"
_SUFFIX = ".bin"
_log = logging.getLogger(__name__)


def cache_root() -> Path | None:
    """The cache folder: what `MGTS_TRT_CACHE` names, else `~/.cache/mgts-trt`; None if caching is off."""
    named = os.environ.get(VARIABLE)
    if named == OFF:
        return None
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "mgts-trt"
    except RuntimeError:  # no home, as in some services
        return None


class DiskCache:
    """Blobs by key in one folder, for several processes at once.

    It only ever saves time: a disk that refuses, or a file that is damaged or foreign, costs a notice in the log and
    the time to make the content again.

    Args:
        kind: Name of the folder inside `root`.
        limit: Bytes; beyond, what was used longest ago is removed.
        root: None means `cache_root()`.
    """

    def __init__(self, kind: str, *, limit: int = LIMIT, root: Path | None = None) -> None:
        root = root or cache_root()
        self.folder = root / kind if root else None
        self._limit = limit

    def path(self, key: str) -> Path | None:
        """Where the content of `key` lies or would lie; None if caching is off."""
        return self.folder and self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"

    def load(self, key: str) -> bytes | None:
        """The content of `key`, or None."""
        path = self.path(key)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("Cannot read the cache file %s: %s. Going on without it.", path, error.strerror)
            return None
        header = len(_MAGIC) + 64
        content = data[header:]
        if data[:header] != _MAGIC + hashlib.sha256(content).hexdigest().encode():
            _log.warning("The cache file %s is damaged or foreign. Ignoring it; it will be written again.", path)
            return None
        with suppress(OSError):
            os.utime(path)  # what is in use is removed last
        return content

    def store(self, key: str, content: bytes) -> None:
        """Keep `content` under `key`, whole or not at all."""
        path = self.path(key)
        if path is None or self.folder is None or len(content) + len(_MAGIC) + 64 > self._limit:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder):
                with replace_file(path) as temporary:
                    temporary.write_bytes(_MAGIC + hashlib.sha256(content).hexdigest().encode() + content)
                self._prune(self.folder, keep=path)
        except OSError as error:
            _log.warning("Cannot write into the cache %s: %s. Going on without it.", self.folder, error.strerror)

    def _prune(self, folder: Path, keep: Path) -> None:
        files = sorted(((path.stat(), path) for path in folder.glob(f"*{_SUFFIX}")), key=lambda file: file[0].st_mtime)
        total = sum(stat.st_size for stat, _ in files)
        for stat, path in files:
            if total <= self._limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= stat.st_size
