import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BundleError, ImageError, LabelError, MgtsError
from mgts_trt.evaluation.labelled import LabelledSet
from tests.helpers.labelled_sets import add_labelled, make_labelled_set
from tests.helpers.tiny_bundle import CANVAS, make_tiny_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_labelled_set(tmp_path / "set")


def change(folder: Path, **picture: object) -> None:
    """Alter the first picture's entry."""
    data = json.loads((folder / "labels.json").read_text())
    data["pictures"][0] |= picture
    (folder / "labels.json").write_text(json.dumps(data))


def test_a_set_reads_back(folder: Path) -> None:
    labelled = LabelledSet.open(folder)
    first, _, last = labelled.pictures
    assert labelled.image(first).shape == (*CANVAS, 3)
    assert first.box_array.tolist() == [[16, 0, 32, 32], [48, 0, 64, 32]]
    assert first.identities == (7, 9)
    masks = labelled.masks(first)
    assert masks is not None
    assert [(masks == k).sum() for k in (0, 1, 2)] == [64 * 96 - 2 * 512, 512, 512]
    assert labelled.masks(last) is None
    assert labelled.files == ["labels.json", "0.png", "1.png", "2.png", "masks/0.png", "masks/1.png"]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ({"boxes": [[16, 0, 97, 32], [48, 0, 64, 32]]}, r"96×64 pixels, but has the box \[16.0, 0.0, 97.0, 32.0\]"),
        ({"boxes": [[16, 0, 16, 32], [48, 0, 64, 32]]}, "with an area"),
        ({"boxes": [[16, 0, 32, float("nan")], [48, 0, 64, 32]]}, "NaN is no number of JSON"),
        ({"identities": [1]}, "2 boxes but 1 identities"),
        ({"identities": [3, 3]}, "identity 3 twice"),
        ({"identities": [-1, 3]}, r"pictures.0.identities.0"),
        ({"camera": -2}, r"pictures.0.camera"),
        ({"file": "../0.png"}, "only relative paths"),
        ({"file": "1.png"}, "listed twice"),
        ({"masks": "none.png"}, "is missing or empty"),
        ({"masks": "1.png"}, "is not a grey picture"),
        ({"boxes": [[16, 0, 32, 32]], "identities": [7]}, "shows person 2, but 0.png has 1 boxes"),
        ({"colour": "red"}, r"pictures.0.colour"),
    ],
)
def test_what_is_malformed(folder: Path, picture: dict[str, object], message: str) -> None:
    change(folder, **picture)
    with pytest.raises(LabelError, match=message):
        LabelledSet.open(folder)


def test_a_mask_of_another_size(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks/0.png"), np.zeros((64, 95), np.uint8))
    with pytest.raises(LabelError, match=r"95×64 pixels, its picture 0\.png is 96×64"):
        LabelledSet.open(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Cannot read"),
        ('{"format": 2}', "has format 2"),
        ("[]", "wrong at its top"),
        ('{"format": 1, "pictures": []}', "wrong at pictures"),
        ('{"format": 1, "pictures": [{"file": "0.png", "boxes": [], "identities": []}]}', "nobody is labelled"),
        (None, "is not a labelled set"),
    ],
)
def test_labels_that_are_none(folder: Path, text: str | None, message: str) -> None:
    if text is None:
        (folder / "labels.json").unlink()
    else:
        (folder / "labels.json").write_text(text)
    with pytest.raises(LabelError, match=message):
        LabelledSet.open(folder)


def test_a_missing_picture(folder: Path) -> None:
    (folder / "0.png").unlink()
    with pytest.raises(ImageError, match=r"0\.png"):
        LabelledSet.open(folder)


@pytest.mark.parametrize(
    ("identities", "cameras", "searchable"),
    [
        ([(7, 9), (7, 9), (7, 9)], [None, None, None], True),
        ([(7, 9), (1, 2), (3, None)], [None, None, None], False),
        ([(None, None), (None, 2), (1, None)], [None, None, None], False),
        ([(7, 1), (7, 2), (3, 4)], [5, 5, 6], False),
        ([(7, 1), (7, 2), (3, 4)], [5, 6, 6], True),
        ([(7, 1), (7, 2), (3, 4)], [5, None, 6], True),
    ],
)
def test_whether_retrieval_can_be_measured(folder: Path, identities, cameras, searchable: bool) -> None:
    data = json.loads((folder / "labels.json").read_text())
    for picture, known, camera in zip(data["pictures"], identities, cameras, strict=True):
        picture |= {"identities": known, "camera": camera}
    (folder / "labels.json").write_text(json.dumps(data))
    assert LabelledSet.open(folder).searchable is searchable


@pytest.mark.parametrize("file", ["labels.json", "0.png", "masks/1.png", "reference.npz"])
def test_a_bundle_checks_the_set_it_carries(tmp_path: Path, file: str) -> None:
    root = make_tiny_bundle(tmp_path / "b")
    assert Bundle.open(root).manifest.labelled is None
    add_labelled(root)
    assert Bundle.open(root).manifest.labelled is not None
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / "labelled" / file).write_bytes(b"altered")
    with pytest.raises(BundleError, match=file):
        Bundle.open(copy)
    assert issubclass(LabelError, MgtsError)
