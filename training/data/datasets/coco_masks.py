"""COCO photos whose people have masks: polygons, or pictures of instances."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mgts_trt._typing import Floats
from mgts_trt.pictures.image import read_image
from training.data.annotated import cut_boxes, xywh_to_xyxy
from training.data.datasets.boxes_json import Box, Thing
from training.data.files import DataError, Instances, instance_boxes, read_json, read_mask
from training.data.scene import UNKNOWN, Scene, no_boxes

PICTURES = "coco_mini.json"

CROWD = 255
"""Value of a crowd in a picture of instances."""

_SHIFT = 4
"""Bits behind the point of a polygon's corners, for OpenCV."""


class _Person(BaseModel):
    bbox: Box
    iscrowd: bool = False
    segmentation: Any = None  # polygons of a person, a run-length code of a crowd, nothing for some


class _Picture(BaseModel):
    model_config = ConfigDict(extra="ignore")

    file: str = Field(min_length=1)
    persons: list[_Person]
    others: list[Thing] = []
    masks_complete: bool
    instance_png: str | None = None


_PICTURES = TypeAdapter(list[_Picture])


class CocoMasks:
    """`Scenes` of photos of COCO (Lin et al., ECCV 2014), sorted by name: `images/` and `coco_mini.json`.

    The file is a list of `{"file", "masks_complete", "persons", "others", "instance_png"}`. A person is `{"bbox":
    [x, y, w, h], "iscrowd", "segmentation"}`, with polygons `[[x, y, x, y, …], …]`; a thing of `others`, which may be
    missing, has a `bbox`. A picture of instances, where one is named, is a grey PNG: 0 for background, k for the k-th
    person, `CROWD` for crowds; boxes are then the extents of its people. Without it, and without `masks_complete`, a
    scene with people has no masks. Crowds are ignored. Where polygons overlap, the smaller person is taken to be in
    front.

    Raises:
        DataError: There is no such file, it is not of that form, or a file it names is not there (when made); a polygon
            that is none, or a mask of another size than its picture (when it is asked for).
        ImageError: A picture that cannot be read (when it is asked for).
    """

    identity_count = 0

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        path = self._folder / PICTURES
        self._pictures = sorted(read_json(path, _PICTURES), key=lambda picture: picture.file)
        for picture in self._pictures:
            for name in (picture.file, picture.instance_png):
                if name is not None and not (self._folder / name).is_file():
                    raise DataError(
                        f"There is no {self._folder / name}, but {path} names it. Unpack the dataset again."
                    )

    @property
    def counts(self) -> list[int]:
        """How many people the annotations have in each picture."""
        return [len(picture.persons) for picture in self._pictures]

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of these numbers."""
        return {self._folder / self._pictures[index].file for index in indices}

    @property
    def names(self) -> list[str]:
        """The pictures' file names, in order."""
        return [picture.file for picture in self._pictures]

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> Scene:
        """One picture, read from its files."""
        picture = self._pictures[index]
        image = read_image(self._folder / picture.file)
        hw = (image.shape[0], image.shape[1])
        boxes, instances, ignored = self._people(picture, hw)
        others, seen = cut_boxes(xywh_to_xyxy(np.array([thing.bbox for thing in picture.others])), hw)
        identities = np.full(len(boxes), UNKNOWN, np.int64)
        return Scene(picture.file, image, boxes, identities, instances, ignored=ignored, others=others[seen])

    def _people(self, picture: _Picture, hw: tuple[int, int]) -> tuple[Floats, Instances | None, Floats]:
        """Boxes [N, 4], the instance map [H, W] if there is one, and ignored boxes [I, 4]."""
        if picture.instance_png is not None:
            stored = read_mask(self._folder / picture.instance_png, hw)
            ignored = instance_boxes(stored == CROWD, 1) if (stored == CROWD).any() else no_boxes()
            labels = np.setdiff1d(stored, [0, CROWD])
            numbers = np.zeros(int(stored.max(initial=0)) + 1, np.uint16)
            numbers[labels] = np.arange(1, len(labels) + 1)
            instances = numbers[stored]
            return instance_boxes(instances, len(labels)), instances, ignored
        people = [person for person in picture.persons if not person.iscrowd]
        boxes, seen = cut_boxes(xywh_to_xyxy(np.array([person.bbox for person in people])), hw)
        crowds, inside = cut_boxes(xywh_to_xyxy(np.array([p.bbox for p in picture.persons if p.iscrowd])), hw)
        kept = [person for person, any_seen in zip(people, seen, strict=True) if any_seen]
        has_masks = picture.masks_complete or not picture.persons
        return boxes[seen], self._draw(picture.file, kept, hw) if has_masks else None, crowds[inside]

    def _draw(self, name: str, people: list[_Person], hw: tuple[int, int]) -> Instances:
        """The instance map of people with polygons, uint16 [H, W]."""
        instances = np.zeros(hw, np.uint16)
        rows = sorted(range(len(people)), key=lambda row: -people[row].bbox[2] * people[row].bbox[3])
        for row in rows:
            parts = [_corners(part, f"{name}, person {row}") for part in people[row].segmentation or ()]
            if not parts:
                raise DataError(f"{self._folder / name} has complete masks, but its person {row} has no polygon.")
            cv2.fillPoly(instances, parts, row + 1, shift=_SHIFT)
        return instances


def _corners(part: Any, where: str) -> NDArray[np.int32]:
    """A polygon's corners for OpenCV, int32 [C, 2]: pixels' centres are whole numbers there and end in ½ in COCO."""
    try:
        corners = np.array(part, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        corners = np.zeros((0, 2))
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise DataError(
            f"A polygon of {where} is {part!r}; x and y of at least three corners are expected. Unpack again."
        )
    return np.rint((corners - 0.5) * 2**_SHIFT).astype(np.int32)
