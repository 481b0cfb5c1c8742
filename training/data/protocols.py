"""The published protocols of CUHK-SYSU and PRW: who is in which image, who is sought, and where.

Both come as MATLAB files with boxes as (left, top, width, height); here boxes are xyxy, float pixels. Person search on
a protocol is

    queries = cuhk_sysu_queries(folder, gallery_size=100)
    evaluate_search(embeddings, [query.gallery for query in queries], detections)
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from scipy.io import loadmat

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.metrics import GalleryEntry
from training.data.annotated import LabelledImage, xywh_to_xyxy
from training.data.files import DataError
from training.data.scene import UNKNOWN

Split = Literal["train", "test"]
_Row = TypeVar("_Row")

GALLERY_SIZES = (50, 100, 500, 1000, 2000, 4000)
"""Galleries CUHK-SYSU defines for every query."""

_CUHK_SYSU_PARTS = Path("annotation") / "test" / "train_test"


@dataclass(frozen=True, eq=False)
class Query:
    """One person to be searched for.

    Attributes:
        image: File name of the image the person is taken from.
        box: float32 [4], xyxy, pixels of the image.
        identity: Number of the identity, 0 … L−1 of the split.
        camera: Number of the camera, or `UNKNOWN`.
        gallery: File names of the images to search, each with the person's box float32 [4] in it, or None.
    """

    image: str
    box: Floats
    identity: int
    camera: int
    gallery: list[GalleryEntry]


def read_cuhk_sysu_protocol(file: Path) -> list[Query]:
    """The queries and galleries of one of CUHK-SYSU's `TestG….mat`, in the file's order, which numbers identities.

    Galleries are as published, which means literally: in `TestG100.mat` four of them list an image twice, with two
    boxes of the person, and two contain the query's own image.

    Raises:
        DataError: The file is missing or is not a test protocol.
    """
    empty: dict[str, GalleryEntry] = {}  # shared: the largest protocol has eleven million entries without the person

    def read(row: Any) -> tuple[str, Floats, list[GalleryEntry]]:
        query = row["Query"][0, 0]
        gallery: list[GalleryEntry] = []
        for entry in row["Gallery"].reshape(-1):
            name, seen = _text(entry[0]), _box(entry[1])
            gallery.append(empty.setdefault(name, (name, None)) if seen is None else (name, seen))
        box = _box(query["idlocate"])
        if box is None:
            raise ValueError("the query has no box")
        return _text(query["imname"]), box, gallery

    rows = _read_rows(file, "a CUHK-SYSU test protocol", file.stem, read)
    return [Query(image, box, identity, UNKNOWN, gallery) for identity, (image, box, gallery) in enumerate(rows)]


def cuhk_sysu_queries(folder: Path, gallery_size: int = 100) -> list[Query]:
    """The 2,900 queries of CUHK-SYSU with galleries of one of `GALLERY_SIZES`; see `read_cuhk_sysu_protocol`.

    Args:
        folder: The data set's folder, which holds `annotation/`.
        gallery_size: Images a gallery.

    Raises:
        DataError: No such gallery size, or the file is missing or wrong.
    """
    if gallery_size not in GALLERY_SIZES:
        raise DataError(
            f"CUHK-SYSU has no galleries of {gallery_size} images. Choose one of {', '.join(map(str, GALLERY_SIZES))}."
        )
    return read_cuhk_sysu_protocol(folder / _CUHK_SYSU_PARTS / f"TestG{gallery_size}.mat")


def cuhk_sysu_images(folder: Path, split: Split, *, strict: bool = False) -> list[LabelledImage]:
    """The labelled images of CUHK-SYSU's training set (all outside the pool) or test set (`pool.mat`).

    Identities are numbered as `Train.mat` lists them, or as the queries of the test protocols; people neither names
    are `UNKNOWN`. Boxes without area are left out.

    Args:
        folder: The data set's folder, which holds `annotation/`.
        split: "train" or "test".
        strict: Refuse a box that `Train.mat` or `TestG50.mat` names but `Images.mat` lacks, instead of leaving it out
            with a warning.

    Raises:
        DataError: A file is missing or wrong.
    """
    file, pool_file = folder / "annotation" / "Images.mat", folder / "annotation" / "pool.mat"
    pool = _read_rows(pool_file, "CUHK-SYSU's list of test images", "pool", _text)
    boxes = dict(_read_rows(file, "CUHK-SYSU's list of images", "Img", _image_boxes))
    names = pool if split == "test" else sorted(boxes.keys() - set(pool), key=_natural)
    if missing := [name for name in pool if name not in boxes]:
        raise DataError(
            f"{pool_file} names {missing[0]}, which {file} does not describe. Take both files from the same release."
        )
    identities = {name: np.full(len(boxes[name]), UNKNOWN, np.int64) for name in names}
    source = folder / _CUHK_SYSU_PARTS / ("Train.mat" if split == "train" else "TestG50.mat")
    lost = []
    for identity, name, box in _train_sightings(source) if split == "train" else _test_sightings(source):
        same = (boxes[name] == box).all(axis=1) if name in identities else np.zeros(0, np.bool_)
        if same.any():
            identities[name][same] = identity
        else:
            lost.append(f"{name}: {box.tolist()} (xyxy) of row {identity + 1}")
    if lost:
        message = (
            f"{len(lost)} labelled boxes of {source} are not among the {split} boxes of {file}; the first is in "
            f"{lost[0]}."
        )
        if strict:
            raise DataError(f"{message} Take both files, and {pool_file.name}, from the same release.")
        warnings.warn(f"{message} They are left out.", stacklevel=2)
    return [LabelledImage(name, boxes[name], identities[name]) for name in names]


def prw_images(folder: Path, split: Split) -> list[LabelledImage]:
    """The labelled frames of PRW's training or test set.

    Identities are numbered as `ID_train.mat` or `ID_test2.mat` (in some copies `ID_test.mat`) lists them; people
    marked -2, and any not listed, are `UNKNOWN`. Boxes are cut off at the left and upper border, beyond which a few
    reach, and those without area are left out.

    Args:
        folder: The data set's folder, which holds `annotations/` and `frames/`.
        split: "train" or "test".

    Raises:
        DataError: A file is missing or wrong.
    """
    numbers = _prw_identities(folder, split)
    frames_file, listed = folder / f"frame_{split}.mat", f"img_index_{split}"
    images = []
    for name, camera in _read_rows(frames_file, "PRW's list of frames", listed, lambda cell: _prw_frame(_text(cell))):
        file = folder / "annotations" / f"{name}.mat"
        with _as_expected(file, "the annotation of a PRW frame"):
            rows = np.atleast_2d(np.asarray(_load(file, "box_new", "anno_file", "anno_previous"), np.float64))
            if rows.size and rows.shape[1] != 5:
                raise ValueError(f"it has rows of {rows.shape[1]}, not identity, left, top, width and height")
            rows = rows.reshape(-1, 5)
            if not np.isfinite(rows).all():
                raise ValueError("a number is not finite")
            boxes = _corners(rows[:, 1:])
            real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
            identities = np.array([numbers.get(int(row[0]), UNKNOWN) for row in rows], np.int64)
            images.append(LabelledImage(name, boxes[real], identities[real], camera))
    return images


def prw_queries(folder: Path, *, cross_camera: bool = False, images: list[LabelledImage] | None = None) -> list[Query]:
    """The 2,057 queries of PRW, each with all test frames but its own as the gallery.

    Where a frame shows the person twice, the first box counts, as in the common evaluation code.

    Args:
        folder: The data set's folder.
        cross_camera: Leave the frames of the query's camera out too.
        images: What `prw_images(folder, "test")` gave, if it was read already.

    Raises:
        DataError: A file is missing or wrong.
    """
    numbers = _prw_identities(folder, "test")
    images = prw_images(folder, "test") if images is None else images
    sightings: dict[int, dict[int, Floats]] = {}
    for i, image in enumerate(images):
        for identity, box in zip(image.identities, image.boxes, strict=True):
            if identity != UNKNOWN:
                sightings.setdefault(int(identity), {}).setdefault(i, box)
    # Thousands of galleries share the entries of frames without the person.
    empty: list[GalleryEntry] = [(image.image, None) for image in images]
    file = folder / "query_info.txt"
    queries = []
    with _as_expected(file, "PRW's list of queries"):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            if not line.strip():
                continue
            fields = line.split()
            if len(fields) != 6 or int(fields[0]) not in numbers:
                raise ValueError(f"line {number} is {line!r}, not a test identity, left, top, width, height and frame")
            (name, camera), identity = _prw_frame(fields[5]), numbers[int(fields[0])]
            box = _corners(np.array([fields[1:5]], np.float64))[0]
            gallery = list(empty)
            for i, sighting in sightings.get(identity, {}).items():
                gallery[i] = (images[i].image, sighting)
            kept = [
                entry
                for entry, image in zip(gallery, images, strict=True)
                if image.image != name and not (cross_camera and image.camera == camera)
            ]
            queries.append(Query(name, box, identity, camera, kept))
    return queries


def _image_boxes(row: Any) -> tuple[str, Floats]:
    """Name and boxes [N, 4] of one image of CUHK-SYSU."""
    found = [_box(person["idlocate"]) for person in row["box"].reshape(-1)]
    return _text(row["imname"]), np.array([box for box in found if box is not None], np.float32).reshape(-1, 4)


def _train_sightings(file: Path) -> Iterator[tuple[int, str, Floats]]:
    """Identity, image and box of every labelled person of CUHK-SYSU's training set."""

    def read(cell: Any) -> list[tuple[str, Floats]]:
        scenes = cell[0, 0]["scene"].reshape(-1)
        return [(_text(scene[0]), box) for scene in scenes if (box := _box(scene[1])) is not None]

    for identity, scenes in enumerate(_read_rows(file, "CUHK-SYSU's list of training identities", "Train", read)):
        for name, box in scenes:
            yield identity, name, box


def _test_sightings(file: Path) -> Iterator[tuple[int, str, Floats]]:
    """Identity, image and box of every labelled person of CUHK-SYSU's test set."""
    for query in read_cuhk_sysu_protocol(file):
        yield query.identity, query.image, query.box
        for name, box in query.gallery:
            if box is not None:
                yield query.identity, name, box


def _prw_identities(folder: Path, split: Split) -> dict[int, int]:
    """From the identities of PRW's files to 0 … L−1."""
    file = folder / ("ID_train.mat" if split == "train" else "ID_test2.mat")
    if split == "test" and not file.exists() and (folder / "ID_test.mat").exists():
        file = folder / "ID_test.mat"
    with _as_expected(file, "PRW's list of identities"):
        listed = _load(file, "ID_train" if split == "train" else "ID_test2")
        return {int(identity): number for number, identity in enumerate(listed.reshape(-1))}


def _prw_frame(name: str) -> tuple[str, int]:
    """File name and camera of a frame listed as c1s3_016471, with or without .jpg."""
    match = re.fullmatch(r"(c(\d+)s\d+_\d+)(\.jpg)?", name)
    if match is None:
        raise ValueError(f"frame {name!r} is not named like c1s3_016471")
    return f"{match[1]}.jpg", int(match[2])


def _read_rows(file: Path, what: str, variable: str, read: Callable[[Any], _Row]) -> list[_Row]:
    """What `read` makes of each element of a MATLAB file's variable."""
    rows = []
    with _as_expected(file, what):
        for number, row in enumerate(_load(file, variable).reshape(-1), start=1):
            try:
                rows.append(read(row))
            except Exception as error:
                raise ValueError(f"row {number}: {error}") from error
    return rows


def _load(file: Path, *names: str) -> Any:
    """The first of several variables that a MATLAB file has."""
    content = loadmat(file)
    for name in names:
        if name in content:
            return content[name]
    found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
    raise ValueError(f"it holds {found}, not {' or '.join(names)}")


@contextmanager
def _as_expected(file: Path, what: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading a file into an error that names the file."""
    if not file.is_file():
        raise DataError(
            f"{file} is missing; it should be {what}. "
            "Give the folder in which the data set was unpacked as it was published."
        )
    try:
        yield
    except MgtsError:
        raise
    except Exception as error:
        raise DataError(f"{file} is not {what}: {error}. Unpack the file anew from the published data set.") from error


def _text(cell: Any) -> str:
    """A string, as loadmat wraps it."""
    array = np.asarray(cell)
    if array.dtype == object:
        return _text(array.reshape(-1)[0])
    if array.dtype.kind != "U" or array.size != 1:
        raise ValueError(f"{cell!r} is no name")
    return str(array.reshape(-1)[0])


def _box(cell: Any) -> Floats | None:
    """A box (left, top, width, height) as xyxy float32 [4]; None where the cell is empty or the box has no area."""
    values = np.asarray(cell, np.float64).reshape(-1)
    if values.size == 0:
        return None
    if values.size != 4 or not np.isfinite(values).all():
        raise ValueError(f"{cell!r} is no box of left, top, width and height")
    if values[2] <= 0 or values[3] <= 0:
        return None
    box: Floats = xywh_to_xyxy(values)[0]
    return box


def _corners(boxes: Array) -> Floats:
    """Boxes (left, top, width, height) [N, 4] as xyxy float32, cut off at the left and upper border."""
    return np.clip(xywh_to_xyxy(boxes), 0, None)


def _natural(name: str) -> list[Any]:
    """Sorting key: s2.jpg before s10.jpg."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
