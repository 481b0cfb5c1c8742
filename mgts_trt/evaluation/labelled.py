"""A labelled set: a folder of pictures and what is known of the people in them, to measure a bundle on.

set/
  labels.json          see `Labels`
  pictures/0001.png    any names, any folders below
  masks/0001.png       optional: grey, 0 background, k where the k-th person is visible
"""

import math
import os
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt._typing import Floats, Image, Self
from mgts_trt.bundle.manifest import RelativePath
from mgts_trt.errors import LabelError, first_fault
from mgts_trt.machine.data_files import read_json
from mgts_trt.machine.installation import in_checkout
from mgts_trt.pictures.image import read_image

LABELS = "labels.json"

_DESCRIBED = in_checkout("docs/bundle.md")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelledPicture(_Strict):
    """One picture and the N people labelled in it."""

    file: RelativePath
    boxes: tuple[tuple[float, float, float, float], ...] = Field(description="xyxy, pixels of the picture")
    identities: tuple[Annotated[int, Field(ge=0)] | None, ...] = Field(description="one a box; null where unknown")
    camera: int | None = Field(default=None, ge=0)
    masks: RelativePath | None = Field(default=None, description="grey PNG: 0 background, k for the k-th person")

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.boxes) != len(self.identities):
            raise ValueError(
                f"{self.file} has {len(self.boxes)} boxes but {len(self.identities)} identities; "
                "give one a box, null where nobody knows it"
            )
        for x1, y1, x2, y2 in self.boxes:
            if not (all(map(math.isfinite, (x1, y1, x2, y2))) and x1 < x2 and y1 < y2):
                raise ValueError(f"{self.file} has the box {[x1, y1, x2, y2]}; expected x1, y1, x2, y2, with an area")
        known = [identity for identity in self.identities if identity is not None]
        if twice := sorted({identity for identity in known if known.count(identity) > 1}):
            raise ValueError(f"{self.file} shows identity {twice[0]} twice; a person is in a picture once")
        return self

    @property
    def box_array(self) -> Floats:
        """The boxes, float32 [N, 4]."""
        return np.array(self.boxes, np.float32).reshape(-1, 4)


class Labels(_Strict):
    """The content of `labels.json`."""

    format: Literal[1]
    source: str = Field(default="", description="where the pictures are from, and under which terms")
    pictures: tuple[LabelledPicture, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        files = [picture.file for picture in self.pictures]
        if len(set(files)) < len(files):
            raise ValueError("a picture is listed twice; list each once")
        if not any(picture.boxes for picture in self.pictures):
            raise ValueError("nobody is labelled in any picture; give the boxes of at least one person")
        return self

    def write(self, folder: Path) -> None:
        """Write `folder/labels.json`."""
        (folder / LABELS).write_text(self.model_dump_json(indent=1, exclude_none=False) + "\n", encoding="utf-8")


class LabelledSet:
    """A labelled set on disk whose labels fit its pictures.

    Example:
        ```python
        labelled = LabelledSet.open("set/")
        for picture in labelled.pictures:
            labelled.image(picture), picture.boxes, labelled.masks(picture)
        ```
    """

    def __init__(self, root: Path, labels: Labels) -> None:
        self.root, self.labels = root, labels

    @property
    def pictures(self) -> tuple[LabelledPicture, ...]:
        """In the order of `labels.json`."""
        return self.labels.pictures

    @property
    def files(self) -> list[str]:
        """Every file of the set, relative to its folder."""
        masks = [picture.masks for picture in self.pictures if picture.masks is not None]
        return [LABELS, *(picture.file for picture in self.pictures), *dict.fromkeys(masks)]

    @property
    def searchable(self) -> bool:
        """Whether retrieval can be measured: somebody is in two pictures, by different cameras where known."""
        seen: dict[int, list[int | None]] = {}
        for picture in self.pictures:
            for identity in picture.identities:
                if identity is not None:
                    seen.setdefault(identity, []).append(picture.camera)
        return any(len(cameras) > 1 and (None in cameras or len(set(cameras)) > 1) for cameras in seen.values())

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Read the labels and check every picture against them.

        Raises:
            LabelError: There is no such set, `labels.json` is malformed or of a newer format, a box leaves its picture,
                or a mask is missing, of another size than its picture, or shows more people than have boxes.
            ImageError: A picture is missing or cannot be read.
        """
        labelled = cls(Path(folder), _read_labels(Path(folder)))
        for picture in labelled.pictures:
            height, width = labelled.image(picture).shape[:2]
            for x1, y1, x2, y2 in picture.boxes:
                if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
                    raise LabelError(
                        f"{labelled.root / picture.file} is {width}×{height} pixels, but has the box "
                        f"{[x1, y1, x2, y2]} in {LABELS}. Cut the box to the picture, or put the picture there that "
                        "was labelled."
                    )
            masks = labelled.masks(picture)
            if masks is None:
                continue
            if masks.shape != (height, width):
                raise LabelError(
                    f"{labelled.root / str(picture.masks)} is {masks.shape[1]}×{masks.shape[0]} pixels, its picture "
                    f"{picture.file} is {width}×{height}. Give both the same size."
                )
            if masks.max() > len(picture.boxes):
                raise LabelError(
                    f"{labelled.root / str(picture.masks)} shows person {masks.max()}, but {picture.file} has "
                    f"{len(picture.boxes)} boxes. A mask is 0 for background and k for the k-th box."
                )
        return labelled

    def image(self, picture: LabelledPicture) -> Image:
        """The pixels, uint8 [H, W, 3], RGB."""
        return read_image(self.root / picture.file)

    def masks(self, picture: LabelledPicture) -> NDArray[np.uint16] | None:
        """uint16 [H, W]: 0 for background, k + 1 where the person of row k is visible; None without masks.

        Raises:
            LabelError: The file is missing or not a grey picture.
        """
        if picture.masks is None:
            return None
        path = self.root / picture.masks
        data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.empty(0, np.uint8)
        mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if mask is None or mask.ndim != 2:
            fault = "is not a grey picture" if data.size else "is missing or empty"
            raise LabelError(f"{path}, the masks of {picture.file}, {fault}. Put a PNG with one channel there.")
        return mask.astype(np.uint16)


def _read_labels(folder: Path) -> Labels:
    path = folder / LABELS
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise LabelError(
            f"{folder} is not a labelled set: there is no {LABELS} in it. "
            f"{in_checkout('`python -m training label-set --out DIR`')} writes one; {_DESCRIBED} says what it holds."
        ) from None
    except OSError as error:
        raise LabelError(f"Cannot read {path}: {error.strerror}. Let this user read it.") from error
    except ValueError as error:
        raise LabelError(f"Cannot read {path}: {error}. It is to be JSON, see {_DESCRIBED}.") from error
    newest = data.get("format") if isinstance(data, dict) else None
    if type(newest) is int and 1 < newest < 1000:
        raise LabelError(f"{path} has format {newest}; this version of mgts-trt reads format 1. Upgrade mgts-trt.")
    try:
        return Labels.model_validate(data)
    except ValidationError as error:
        raise LabelError(
            f"{path} is wrong {first_fault(error)}. Correct it; {_DESCRIBED} says what it holds."
        ) from error
