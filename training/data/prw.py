"""PRW: the training scenes."""

import re
from pathlib import Path

import numpy as np

from training.data.annotated import AnnotatedScenes, Annotation, as_list, read_mat, xywh_to_xyxy
from training.data.files import DataError
from training.data.scene import UNKNOWN

# The published annotations use any of these for the same table.
_TABLES = ("box_new", "anno_file", "anno_previous")
_NAME = re.compile(r"c(\d)s\d_\d+")


def prw_train(folder: str | Path) -> AnnotatedScenes:
    """The training scenes of PRW (Zheng et al., CVPR 2017): the frames that `frame_train.mat` lists.

    `annotations/NAME.jpg.mat` holds rows of identity, left, top, width and height; identity −2 is a person of unknown
    identity. Identities are renumbered 0 … L−1 in the order of their published numbers; the camera is in the frame's
    name (`c1s1_001051`). Pictures are in `frames`.

    Raises:
        DataError: a file that is missing or not as published.
    """
    root = Path(folder)
    index = root / "frame_train.mat"
    names = [str(name) for name in as_list(read_mat(index, "img_index_train"))]
    tables, cameras = [], []
    for row, name in enumerate(names):
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError(f"Row {row + 1} of {index} is {name!r}, but a frame is named like 'c1s1_001051'.")
        cameras.append(int(match[1]))
        path = root / "annotations" / f"{name}.jpg.mat"
        table = np.atleast_2d(np.asarray(read_mat(path, _TABLES), np.float64))
        if table.shape[1] != 5:
            raise DataError(
                f"{path} has rows of {table.shape[1]} numbers, but identity, left, top, width and height are due. "
                "Unpack the dataset's annotations again."
            )
        tables.append(table)
    if not tables:
        raise DataError(f"{index} lists no frame, but the training set is the frames it lists. Unpack it again.")
    numbers = np.unique(np.concatenate([table[:, 0] for table in tables]))
    numbers = numbers[numbers >= 0]
    annotations = [
        Annotation(
            root / "frames" / f"{name}.jpg",
            xywh_to_xyxy(table[:, 1:]),
            np.where(table[:, 0] >= 0, np.searchsorted(numbers, table[:, 0]), UNKNOWN).astype(np.int64),
            camera,
        )
        for name, table, camera in zip(names, tables, cameras, strict=True)
    ]
    return AnnotatedScenes(annotations, len(numbers))
