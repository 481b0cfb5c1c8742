"""Photos with a box around every person, listed in one file, `boxes.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from training.data.annotated import AnnotatedScenes, LabelledImage, xywh_to_xyxy
from training.data.files import DataError, read_json
from training.data.scene import UNKNOWN

BOXES = "boxes.json"


def _with_an_area(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not min(box[2:]) > 0:
        raise ValueError("positive width and height are expected")
    return box


Box = Annotated[tuple[float, float, float, float], AfterValidator(_with_an_area)]
"""Left, top, width and height in pixels; it may leave the picture."""


class Thing(BaseModel):
    """Something with a box."""

    bbox: Box


class _Picture(BaseModel):
    model_config = ConfigDict(extra="ignore")

    file: str = Field(min_length=1)
    persons: list[Thing]
    ignore: list[Box] = []
    others: list[Thing] = []


_PICTURES = TypeAdapter(list[_Picture])


def boxes_json(folder: str | Path) -> AnnotatedScenes:
    """All pictures of a folder that `boxes.json` lists, sorted by name; those with nobody in them, too.

    The file is a list of `{"file", "persons": [{"bbox": [x, y, w, h]}], "ignore": [[x, y, w, h]], "others": [{"bbox":
    [x, y, w, h]}]}`, in pixels of the pictures; `ignore` and `others` may be missing. Further entries are passed over,
    such as an `id` of a person, for it need not be unique over the sequences of a set.

    Raises:
        DataError: There is no such file, it is not of that form, or it lists a picture twice or one that is not there.
    """
    path = Path(folder) / BOXES
    pictures = read_json(path, _PICTURES)
    names = [picture.file for picture in pictures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} lists {twice[0]} twice, but each picture once is expected. Remove one entry.")
    images = [
        LabelledImage(
            picture.file,
            xywh_to_xyxy(np.array([person.bbox for person in picture.persons])),
            np.full(len(picture.persons), UNKNOWN, np.int64),
            ignored=xywh_to_xyxy(np.array(picture.ignore)),
            others=xywh_to_xyxy(np.array([thing.bbox for thing in picture.others])),
        )
        for picture in sorted(pictures, key=lambda picture: picture.file)
    ]
    return AnnotatedScenes(Path(folder), images)


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a `boxes.json` by file, whole.

    Raises:
        DataError: There is no such file, or it is malformed.
    """
    boxes_json(path.parent)  # says what is wrong with it
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {entry["file"]: entry for entry in entries}


def write_entries(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a `boxes.json`, by file, all of it or nothing."""
    rows = ",\n".join(json.dumps(entries[file]) for file in sorted(entries))
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(f"[{rows}]\n", encoding="utf-8")
    partial.replace(path)
