"""Crops of people from several re-ID sets, listed in one table."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mgts_trt.pictures.image import read_image
from training.data.files import DataError
from training.data.scene import Scene

TABLE = "reid.csv"
_COLUMNS = ("file", "set", "pid", "cam")


class ReidMix:
    """`Scenes` of one of the sets in a `reid.csv`, each crop a scene that its person fills.

    The table has the columns file (relative to its folder), set, pid (unique over all sets) and cam (a number, which
    means the same camera within a set alone). There are no masks.

    Args:
        folder: Holds `reid.csv`.
        name: Of the set, as the table calls it.
        people: The pids to take, whose places in this row become their identities; one without crops has none. By
            default all, sorted.

    Attributes:
        names: The L pids.
        identities: int64 [crops].
        cameras: int64 [crops].

    Raises:
        DataError: No table, a malformed one, or none of that set in it (when made).
        ImageError: A crop that cannot be read (when it is asked for).
    """

    def __init__(self, folder: str | Path, name: str, people: Sequence[str] | None = None):
        rows = [row for row in _read_table(Path(folder)) if row[1] == name]
        if not rows:
            raise DataError(f"{Path(folder) / TABLE} lists no crop of the set {name!r}. Name one that it has.")
        self.names = sorted({pid for _, _, pid, _ in rows}) if people is None else list(people)
        numbers = {pid: number for number, pid in enumerate(self.names)}
        kept = [row for row in rows if row[2] in numbers]
        self.paths = [Path(folder) / file for file, _, _, _ in kept]
        self.identities = np.array([numbers[pid] for _, _, pid, _ in kept], np.int64)
        self.cameras = np.array([camera for _, _, _, camera in kept], np.int64)
        self.identity_count = len(self.names)

    def __len__(self) -> int:
        """How many crops there are."""
        return len(self.paths)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The crops of these numbers."""
        return {self.paths[index] for index in indices}

    def __getitem__(self, index: int) -> Scene:
        """One crop, read from its file. Its box is the whole crop."""
        path = self.paths[index]
        image = read_image(path)
        return Scene(
            "/".join(path.parts[-2:]),
            image,
            np.array([[0, 0, *image.shape[1::-1]]], np.float32),
            self.identities[index : index + 1],
            camera=int(self.cameras[index]),
        )


def _read_table(folder: Path) -> Iterable[tuple[str, str, str, int]]:
    path = folder / TABLE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"There is no file {path}, but the crops are listed there. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}. Unpack the dataset again.") from error
    reader = csv.DictReader(text.splitlines())
    if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
        raise DataError(f"{path} has no column {missing[0]!r}; {','.join(_COLUMNS)} are expected in its first line.")
    sets: dict[str, str] = {}
    for row in reader:
        file, name, pid, camera = (row[column] for column in _COLUMNS)
        if not (file and name and pid and camera and camera.isascii() and camera.isdigit()):
            raise DataError(
                f"{path}, line {reader.line_num}: a file, a set, a pid and a camera's number are expected, got "
                f"{[row[column] for column in _COLUMNS]}. Mend the line."
            )
        if sets.setdefault(pid, name) != name:
            raise DataError(
                f"{path}, line {reader.line_num}: the pid {pid} is of the set {name} here and of {sets[pid]} before, "
                "but pids are unique over all sets. Rename one."
            )
        yield file, name, pid, int(camera)
