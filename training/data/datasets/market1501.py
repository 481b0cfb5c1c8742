"""Market-1501: crops of people with identities and cameras, and predicted masks beside."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgts_trt.pictures.image import read_image
from training.data.files import DataError, list_files, read_mask
from training.data.scene import Scene

SMALLEST_MASK = 0.2
"""A mask that covers less of its crop is treated as none: below, the predicted masks show a limb or a bag, not the
person (about 4 % of the crops)."""

_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>\d)s\d_\d+_\d+")


class Market1501:
    """`Scenes` of Market-1501 (Zheng et al., ICCV 2015), each crop a scene that its person fills.

    Read from `images/ID/ID_cCsS_frame_box.jpg` and, where there is such a folder, `masks/ID/….png` (0 and 255).
    Identities are numbered in the order of their folders' names, crops within one by file name.

    Attributes:
        names: The L identities' folder names, sorted.
        identities: int64 [crops].
        cameras: int64 [crops], 1 … 6.

    Raises:
        DataError: a missing or empty folder, a name that does not follow the pattern, a crop without its mask (when
            made); a mask of another size than its crop (when it is asked for).
        ImageError: a crop that cannot be read (when it is asked for).
    """

    def __init__(self, folder: str | Path):
        images = Path(folder) / "images"
        self._masks = Path(folder) / "masks" if (Path(folder) / "masks").is_dir() else None
        if not images.is_dir():
            raise DataError(f"There is no folder {images}, but Market-1501 keeps a folder an identity there.")
        self.names = sorted(path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not self.names:
            raise DataError(f"{images} holds no folder, but one for each identity is expected. Unpack it there again.")
        self.paths: list[Path] = []
        identities, cameras = [], []
        for identity, name in enumerate(self.names):
            crops = list_files(images / name, ".jpg")
            self._check_masks(name, crops)
            for path in crops:
                self.paths.append(path)
                identities.append(identity)
                cameras.append(_camera(path))
        self.identities = np.array(identities, np.int64)
        self.cameras = np.array(cameras, np.int64)
        self.identity_count = len(self.names)

    def _check_masks(self, name: str, crops: list[Path]) -> None:
        if self._masks is None:
            return
        there = {path.stem for path in list_files(self._masks / name, ".png")}
        missing = [path for path in crops if path.stem not in there]
        if missing:
            raise DataError(
                f"{missing[0]} has no mask {self._masks / name / missing[0].stem}.png ({len(missing)} such crops in "
                "its folder), but where there is a folder of masks each crop has one. Unpack the masks again."
            )

    def __len__(self) -> int:
        """How many crops there are."""
        return len(self.paths)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The crops of these numbers."""
        return {self.paths[index] for index in indices}

    def __getitem__(self, index: int) -> Scene:
        """One crop, read from its files. Its box is the whole crop; `instances` is None below `SMALLEST_MASK`."""
        path = self.paths[index]
        image = read_image(path)
        height, width = image.shape[:2]
        instances = None
        if self._masks is not None:
            mask = read_mask(self._masks / path.parent.name / f"{path.stem}.png", (height, width))
            if np.count_nonzero(mask > 127) >= SMALLEST_MASK * mask.size:
                instances = (mask > 127).astype(np.uint16)
        return Scene(
            path.name,
            image,
            np.array([[0, 0, width, height]], np.float32),
            self.identities[index : index + 1],
            instances,
            int(self.cameras[index]),
        )


def _camera(path: Path) -> int:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DataError(
            f"{path} is not named as a Market-1501 crop: ID_cCsS_frame_box.jpg is expected, with an ID of four digits "
            "(0007_c1s6_028546_04.jpg). Rename or remove it."
        )
    if match["identity"] != path.parent.name:
        raise DataError(
            f"{path} lies in the folder of identity {path.parent.name}, but its name says {match['identity']}. "
            "Move it to the folder of its identity."
        )
    return int(match["camera"])
