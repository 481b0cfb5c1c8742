"""Finding pictures and videos: in files and folders that a user named."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.machine.files import place_kind
from mgts_trt.pictures.kinds import HEAD, Kind, kind_of

DRAWN = ".people.jpg"
"""What `detect` appends to a picture's name for the one it draws; beside it lies `.json`."""

FILMED = ".people.mp4"
"""What `detect` appends to a video's name for the one it draws; beside it lies `.jsonl`."""

_PICTURES: tuple[Kind, ...] = ("picture",)


@dataclass
class Found:
    """What lies in files and folders.

    Attributes:
        files: Paths with their kinds; of a folder sorted.
        others: How many files of a folder are neither pictures nor videos, or not of the kind wanted, by suffix.
        drawn: How many pictures and videos of a folder are `detect`'s own drawings.
        unseen: Sentences on what could not be looked into: folders, links to folders.
    """

    files: list[tuple[Path, Kind]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    unseen: list[str] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Take in what was found elsewhere."""
        self.files += other.files
        self.others += other.others
        self.drawn += other.drawn
        self.unseen += other.unseen

    @property
    def passed_over(self) -> str:
        """What was passed over in a folder, in a sentence; empty if nothing was."""
        kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(self.others.items())]
        kinds += [f"{self.drawn} drawn by detect"] * bool(self.drawn)
        return f"passed over in folders: {', '.join(kinds)}" if kinds else ""

    @property
    def told(self) -> list[str]:
        """All a user should hear of besides the files, in sentences without a full stop."""
        return [*self.unseen, *filter(None, [self.passed_over])]


def look_into(
    path: Path, kinds: Collection[Kind] = _PICTURES, *, named: bool = True, without: Path | None = None
) -> Found:
    """What a place holds: the file itself, whatever it is called, or the pictures and videos of a folder and below.

    Content decides what a file is (`kind_of`). Hidden files and folders (thumbnails, resource forks) are passed over
    without a word; links to folders are not followed, since they may lead in circles, and are told of.

    Args:
        path: A file, a pipe, or a folder.
        kinds: What is wanted of a folder.
        named: A user has named it, so that it is taken for a picture if it is a file that is neither.
        without: A folder that is not looked into, where results go.

    Raises:
        ImageError: There is nothing at `path`, or it cannot be looked at.
    """
    place = place_kind(path)
    if place is None:
        raise ImageError(
            f"There is no {path}: a {' or '.join(kinds)}, or a folder of them, is expected. Check the path's spelling."
        )
    found = Found()
    if place != "folder" and named:
        found.files.append((path, _kind(path) or "picture"))
        return found
    if place != "folder":
        _add(found, path, kinds, set())
        return found
    left_out = without and os.path.realpath(without)
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.unseen.append(f"{folder} cannot be looked into: {error.strerror}")
            continue
        names = {entry.name for entry in inside}
        for entry in inside:
            if entry.name.startswith("."):
                continue
            file = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                if left_out is None or os.path.realpath(file) != left_out:
                    folders.append(file)
            elif _place(file) == "folder":
                found.unseen.append(f"{file} is a link to a folder, which is not followed; name it to have it searched")
            else:
                _add(found, file, kinds, names)
    found.files.sort()
    return found


def find_images(path: str | Path) -> list[Path]:
    """The pictures at a place, see `look_into`: the file itself, or those of a folder and below, sorted.

    Raises:
        ImageError: There is nothing at `path`, or it cannot be looked at.
    """
    return [file for file, _ in look_into(Path(path)).files]


def _place(file: Path) -> str | None:
    """As `place_kind`; None, too, for what cannot be looked at, such as a link that leads in a circle."""
    try:
        return place_kind(file)
    except MgtsError:
        return None


def _add(found: Found, file: Path, kinds: Collection[Kind], names: set[str]) -> None:
    for drawn, numbers in ((DRAWN, ".json"), (FILMED, ".jsonl")):
        if file.name.endswith(drawn) and f"{file.name.removesuffix(drawn)}{numbers}" in names:
            found.drawn += 1
            return
    kind = _kind(file)
    if kind is not None and kind in kinds:
        found.files.append((file, kind))
    else:
        found.others[file.suffix.lower()] += 1


def _kind(file: Path) -> Kind | None:
    """What a file is; one that cannot be read is what its name says, and reading it will say why it cannot be."""
    head = b""
    try:
        if place_kind(file) == "file":  # opening a pipe would wait for its writer
            with file.open("rb") as opened:
                head = opened.read(HEAD)
    except (OSError, MgtsError):
        pass
    return kind_of(head, file.name)


def list_pictures(sources: Sequence[Path], *, without: Path | None = None) -> tuple[list[tuple[Path, Path]], Found]:
    """Every picture of files and folders, with its name below the folder that all of them have in common.

    Args:
        sources: Files and folders. What is named twice is there once.
        without: As of `look_into`.

    Returns:
        The pictures with their names, and what else was found.

    Raises:
        ImageError: A source does not exist, or there is no picture at all.
    """
    files, together = list_files([(source, True) for source in sources], without=without)
    if not files:
        what = f" ({'; '.join(told)})" if (told := together.told[:3]) else ""
        raise ImageError(
            f"No pictures in {', '.join(str(source) for source in sources)}{what}. Name a photo or a folder of photos."
        )
    return [(path, name) for path, name, _ in files], together


def list_files(
    places: Sequence[tuple[Path, bool]], kinds: Collection[Kind] = _PICTURES, *, without: Path | None = None
) -> tuple[list[tuple[Path, Path, Kind]], Found]:
    """Every file of places, with its name below the folder that all of them have in common, and its kind.

    Args:
        places: Files and folders, each with whether a user has named it, see `look_into`. What is named twice is there
            once.
        kinds: What is wanted of folders.
        without: As of `look_into`.

    Returns:
        The files, possibly none, and what else was found.

    Raises:
        ImageError: A place does not exist.
    """
    together, files = Found(), dict[str, tuple[Path, Kind]]()
    bases = []
    for place, named in places:
        found = look_into(place, kinds, named=named, without=without)
        bases.append(os.path.abspath(place) if place_kind(place) == "folder" else _parent(place))
        files.update({os.path.abspath(file): (file, kind) for file, kind in found.files})
        together.add(found)
    base = os.path.commonpath(bases) if bases else ""
    listed = [(path, Path(os.path.relpath(absolute, base)), kind) for absolute, (path, kind) in files.items()]
    return listed, together


def _parent(file: Path) -> str:
    return os.path.dirname(os.path.abspath(file))
