from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.data.annotated import AnnotatedScenes, LabelledImage
from training.data.datasets.hard import MOST, Mistakes, more_often, picture_name, read_mistakes, write_mistakes
from training.data.files import DataError
from training.data.scene import no_boxes


@pytest.fixture
def photos(tmp_path: Path) -> AnnotatedScenes:
    for name in "abcd":
        (tmp_path / f"{name}.jpg").touch()
    nobody = (no_boxes(), np.zeros(0, np.int64))
    return AnnotatedScenes(tmp_path, [LabelledImage(f"{name}.jpg", *nobody) for name in "abcd"])


def names(scenes: AnnotatedScenes, rows: list[Mistakes], root: Path) -> dict[str, int]:
    chosen = more_often(scenes, rows, root)
    return Counter(picture_name(chosen, index, root) for index in range(len(chosen)))


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [Mistakes("a, b.jpg", 1, 0.5), Mistakes("c.jpg", 4, 0.75), Mistakes("ä.jpg", 4, 0.9)]
    write_mistakes(tmp_path / "hard.csv", rows)
    assert read_mistakes(tmp_path / "hard.csv") == [rows[2], rows[1], rows[0]], "the worst first"
    write_mistakes(tmp_path / "hard.csv", [])
    assert read_mistakes(tmp_path / "hard.csv") == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "FileNotFoundError"),
        (b"", "is empty"),
        (b"name,people,score\na,1,1\n", "KeyError"),
        (b"file,people,score\na,one,1\n", "ValueError"),
        (b"file,people,score\na,1\n", "TypeError"),
        (b"file,people,score\n\xff\xfe,1,1\n", "UnicodeDecodeError"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "hard.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_mistakes(tmp_path / "hard.csv")


def test_hard_pictures_are_shown_more_often(photos: AnnotatedScenes, tmp_path: Path) -> None:
    rows = [Mistakes("a.jpg", 1, 0.9), Mistakes("c.jpg", 99, 0.9), Mistakes("elsewhere/x.jpg", 2, 0.9)]
    assert names(photos, rows, tmp_path) == {"a.jpg": 2, "b.jpg": 1, "c.jpg": 1 + MOST, "d.jpg": 1}
    assert names(photos, [], tmp_path) == dict.fromkeys(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], 1)


def test_pictures_are_named_from_the_folder_of_the_data(photos: AnnotatedScenes, tmp_path: Path) -> None:
    assert picture_name(photos, 1, tmp_path.parent) == f"{tmp_path.name}/b.jpg"
    assert picture_name(photos, 1, tmp_path / "sets") == "../b.jpg"


def test_a_list_of_other_data_is_refused(photos: AnnotatedScenes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"None of the 1 hard pictures, such as x\.jpg"):
        more_often(photos, [Mistakes("x.jpg", 1, 0.5)], tmp_path)
