"""What a gallery keeps of itself beside its tables: small texts, each by its name."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Protocol

from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import sync
from mgts_trt.machine.files import replace_file


class Notes(Protocol):
    """Small texts that outlive their writers; a write has reached the storage when it returns."""

    def stamp(self, name: str) -> Hashable:
        """Something that is another after each change of a text."""

    def read(self, name: str) -> str | None:
        """A text; None where there is none.

        Raises:
            OSError, RuntimeError, ValueError: It cannot be read.
        """

    def change(self, name: str, how: Callable[[str | None], str], *, step: str) -> None:
        """Put a text in place of what is there, which `how` is given; it may be asked again where others write.

        Args:
            name: Of the note.
            how: From what is there, None for nothing, to what is to be there.
            step: What is `reached` before it is there.

        Raises:
            OSError, RuntimeError, ValueError: It cannot be written, and is as it was.
        """

    def remove(self, name: str) -> None:
        """Remove a text, so that no byte of it stays; where there is none, nothing happens.

        Raises:
            OSError, RuntimeError, ValueError: It cannot be removed.
        """

    def names(self, suffix: str) -> list[str]:
        """Names of all texts that end so, in order."""


class FolderNotes:
    """Files of one folder. Who changes one has the gallery alone: see `Guard`.

    Args:
        folder: It need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stamp(self, name: str) -> Hashable:
        """See `Notes`."""
        try:
            about = (self._folder / name).stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size

    def read(self, name: str) -> str | None:
        """See `Notes`."""
        try:
            return (self._folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def change(self, name: str, how: Callable[[str | None], str], *, step: str) -> None:
        """See `Notes`."""
        text = how(self.read(name))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with replace_file(self._folder / name, sync=True) as temporary:
            temporary.touch(0o600, exist_ok=False)
            temporary.write_text(text, encoding="utf-8")
            reached(step)
        sync(self._folder)

    def remove(self, name: str) -> None:
        """See `Notes`."""
        (self._folder / name).unlink(missing_ok=True)
        sync(self._folder)

    def names(self, suffix: str) -> list[str]:
        """See `Notes`."""
        return sorted(path.name for path in self._folder.glob(f"*{suffix}"))
