"""CUHK-SYSU: the training scenes."""

from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Floats
from training.data.annotated import AnnotatedScenes, Annotation, as_list, read_mat, xywh_to_xyxy
from training.data.files import DataError
from training.data.scene import UNKNOWN


def cuhk_sysu_train(folder: str | Path) -> AnnotatedScenes:
    """The training scenes of CUHK-SYSU (Xiao et al., CVPR 2017): 11,206 pictures with 5,532 identities.

    All pictures of `annotation/Images.mat` that are not in the test pool (`annotation/pool.mat`), with all their
    boxes. A box has the identity of the row of `annotation/test/train_test/Train.mat` that names this picture and
    exactly this box; people of no row are `UNKNOWN`. Identities are numbered by row. Pictures are in `Image/SSM`.

    `annotation/Person.mat` is not needed: it holds the same appearances, those of the test identities too.

    Raises:
        DataError: a file that is missing or not as published, or a row that names a picture or a box that
            Images.mat does not have.
    """
    root = Path(folder)
    images, pool = root / "annotation" / "Images.mat", root / "annotation" / "pool.mat"
    train = root / "annotation" / "test" / "train_test" / "Train.mat"
    test_names = {str(name) for name in as_list(read_mat(pool, "pool"))}
    boxes: dict[str, Floats] = {}
    for row, entry in enumerate(as_list(read_mat(images, "Img"))):
        name = str(_field(entry, "imname", images, row))
        if name not in test_names:
            boxes[name] = _boxes(_field(entry, "box", images, row), images, row)
    if not boxes:
        raise DataError(f"{images} holds no picture outside the test pool {pool}, but the training set is the rest.")
    identities = {name: np.full(len(rows), UNKNOWN, np.int64) for name, rows in boxes.items()}
    people = as_list(read_mat(train, "Train"))
    for row, person in enumerate(people):
        for scene in as_list(_field(person, "scene", train, row)):
            name = str(_field(scene, "imname", train, row))
            if name not in boxes:
                raise DataError(
                    f"Row {row + 1} of {train} names the picture {name!r}, but {images} has no such training picture. "
                    "Take both files from the same release."
                )
            box = _boxes([scene], train, row)
            matches = (boxes[name] == box).all(1) if len(box) else np.zeros(len(boxes[name]), np.bool_)
            if len(box) and not matches.any():
                raise DataError(
                    f"Row {row + 1} of {train} gives the box {box[0].tolist()} (xyxy) in {name}, but {images} has no "
                    "such box there. Take both files from the same release."
                )
            identities[name][matches] = row
    annotations = [Annotation(root / "Image" / "SSM" / name, boxes[name], identities[name]) for name in sorted(boxes)]
    return AnnotatedScenes(annotations, len(people))


def _field(entry: Any, name: str, path: Path, row: int) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f"Row {row + 1} of {path} has no field {name!r}, but a published file has. Unpack it again.")
    return entry[name]


def _boxes(entries: Any, path: Path, row: int) -> Floats:
    """The `idlocate` (left, top, width, height) of structs; a few of the published boxes are empty and left out."""
    located = [np.ravel(_field(entry, "idlocate", path, row)) for entry in as_list(entries)]
    wrong = [box for box in located if box.size != 4]
    if wrong:
        raise DataError(
            f"Row {row + 1} of {path} has the box {wrong[0].tolist()}, but left, top, width, height is due."
        )
    rows = np.array(located, np.float32).reshape(-1, 4)
    return xywh_to_xyxy(rows[(rows[:, 2:] > 0).all(1)])
