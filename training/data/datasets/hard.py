"""Which pictures of nobody a detector finds people in, and how training sees those more often."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mgts_trt.machine.files import write_text
from training.data.datasets.splits import Subset
from training.data.files import DataError
from training.data.scene import Scenes
from training.data.sources import files_of

MOST = 3
"""How often at most a hard picture is shown besides the once that every picture is: the rest must not be forgotten. By
judgement."""


class Mistakes(NamedTuple):
    """What a detector found in one picture that shows nobody."""

    file: str
    """The picture, from the folder of the data."""
    people: int
    """How many people it found."""
    score: float
    """The greatest of their scores, 0 … 1."""


def picture_name(scenes: Scenes, index: int, root: Path) -> str:
    """The name of a scene's picture in a list: its path from the folder of the data.

    Raises:
        DataError: The scene is not of one file.
    """
    files = files_of(scenes, [index])
    if len(files) != 1:
        raise DataError(f"Scene {index} is of {len(files)} files, but a list of hard pictures needs scenes of one.")
    return Path(os.path.relpath(files.pop(), root)).as_posix()


def write_mistakes(path: Path, mistakes: Iterable[Mistakes]) -> None:
    """Write a list as CSV, the worst picture first."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(Mistakes._fields)
    for row in sorted(mistakes, key=lambda row: (-row.people, -row.score, row.file)):
        rows.writerow((row.file, row.people, f"{row.score:.4f}"))
    write_text(path, text.getvalue())


def read_mistakes(path: Path) -> list[Mistakes]:
    """Read what `write_mistakes` wrote.

    Raises:
        DataError: There is no such file, or it is no such list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            found = [Mistakes(row["file"], int(row["people"]), float(row["score"])) for row in rows]
            headings = rows.fieldnames
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no list of hard pictures ({type(error).__name__}: {error}); the columns "
            f"{', '.join(Mistakes._fields)} are expected. Make one with python -m training mine."
        ) from error
    if headings is None:
        raise DataError(f"{path} is empty, but hard pictures were expected. List them with python -m training mine.")
    return found


def more_often(scenes: Scenes, mistakes: Iterable[Mistakes], root: Path) -> Subset:
    """The scenes, those with mistakes several times: once more for each person found there, up to `MOST` times more.

    Args:
        scenes: Of one file each.
        mistakes: Pictures that are not among the scenes are passed over.
        root: The folder of the data.

    Raises:
        DataError: None of the pictures is among the scenes, so the list is of other data.
    """
    found: Counter[str] = Counter()
    for row in mistakes:
        found[row.file] += row.people
    names = [picture_name(scenes, index, root) for index in range(len(scenes))]
    if found and not found.keys() & set(names):
        raise DataError(
            f"None of the {len(found)} hard pictures, such as {next(iter(found))}, is among those of nobody in {root}. "
            "Mine on the data that is trained on."
        )
    indices = [index for index, name in enumerate(names) for _ in range(1 + min(max(found[name], 0), MOST))]
    return Subset(scenes, indices)
