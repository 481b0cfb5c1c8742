"""TUD Campus: one street, one camera, people who cross it."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from training.data.annotated import AnnotatedScenes, LabelledImage, xywh_to_xyxy
from training.data.files import DataError, list_files


def tud_campus(folder: str | Path) -> AnnotatedScenes:
    """All frames of TUD Campus (Andriluka et al., CVPR 2008): `images/000001.jpg` … and `gt.txt`.

    Rows of `gt.txt` are `frame,id,left,top,width,height,-1`. Identities are numbered in the order of their ids.

    Raises:
        DataError: a missing file, an empty folder, or a row that is not of that form or names no frame.
    """
    root = Path(folder)
    frames = {path.stem: path for path in list_files(root / "images", ".jpg")}
    table = root / "gt.txt"
    if not table.is_file():
        raise DataError(f"There is no file {table}, but TUD Campus keeps its boxes there. Unpack the dataset again.")
    rows: dict[str, list[list[float]]] = defaultdict(list)
    ids: set[int] = set()
    for number, line in enumerate(table.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, person, *box = [float(value) for value in line.split(",")[:6]]
        except ValueError:
            box = []
        if len(box) != 4 or not min(box[2:]) > 0:
            raise DataError(
                f"Line {number} of {table} is {line!r}, but frame,id,left,top,width,height with positive width and "
                "height is expected. Correct or remove it."
            )
        name = f"{int(frame):06d}"
        if name not in frames:
            raise DataError(f"Line {number} of {table} names frame {int(frame)}, but there is no {name}.jpg in images.")
        rows[name].append([person, *box])
        ids.add(int(person))
    numbers = np.array(sorted(ids))
    images = []
    for name, path in frames.items():
        people = np.array(rows[name], np.float64).reshape(-1, 5)
        identities = np.searchsorted(numbers, people[:, 0].astype(np.int64)).astype(np.int64)
        images.append(LabelledImage(path.name, xywh_to_xyxy(people[:, 1:]), identities, camera=1))
    return AnnotatedScenes(root / "images", images)
