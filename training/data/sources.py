"""Which files a dataset's scenes are read from or composed of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from training.data.files import DataError
from training.data.scene import Scenes


class FromFiles(Protocol):
    """Scenes that know their files."""

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The picture files that the scenes of these numbers may show, masks left out."""
        ...


def files_of(scenes: Scenes, indices: Iterable[int] | None = None) -> set[Path]:
    """The picture files that scenes of a dataset may show.

    Args:
        scenes: The dataset.
        indices: Numbers of its scenes; all of them if None.

    Raises:
        DataError: The dataset does not say.
    """
    of = getattr(scenes, "files_of", None)
    if of is None:
        raise DataError(
            f"{type(scenes).__name__} does not say which files its scenes are of, so nobody can check what training "
            f"sees. Give it the method files_of, as {__name__}.FromFiles has it."
        )
    files: set[Path] = of(range(len(scenes)) if indices is None else indices)
    return files
