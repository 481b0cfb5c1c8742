"""Photographs out of repositories made here."""

import csv
import shutil
from pathlib import Path

import cv2
import pytest

from tests.helpers.clones import repository
from tests.helpers.training_scenes import drawn
from training.data.files import DataError
from training.data.fingerprints import fingerprints
from training.data.gathered import LIST, SOURCES, Gathered, Source, gather, read_sources

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def source(name: str, commit: str, pictures: str = r"photos/.*\.(jpg|png)", **more: object) -> Source:
    return Source.model_validate(
        {"repository": name, "commit": commit, "pictures": pictures, "terms": "for research", **more}
    )


def test_what_is_new_is_gathered_scaled_and_listed(tmp_path: Path) -> None:
    clones, out, known = tmp_path / "clones", tmp_path / "out", tmp_path / "known"
    known.mkdir()
    cv2.imwrite(str(known / "known.png"), drawn(1))
    first = repository(
        clones,
        "someone/photos",
        {
            "photos/a b.jpg": drawn(0, 600, 900),
            "photos/known again.jpg": cv2.resize(drawn(1), None, fx=2, fy=2),
            "photos/icon.png": drawn(2, 40, 40),
            "photos/broken.jpg": b"no picture",
            "photos/notes.txt": b"text",
            "drafts/d.jpg": drawn(3),
        },
    )
    second = repository(clones, "other/copies", {"photos/mirrored.png": drawn(0)[:, ::-1], "photos/new.png": drawn(4)})
    done: list[Gathered] = []
    sources = [source("someone/photos", first), source("other/copies", second)]
    prints = fingerprints([known / "known.png"])
    gather(clones, out, prints, sources, done.append)
    assert done == [Gathered("someone/photos", 1, 1, 2), Gathered("other/copies", 2, 0, 0)]
    with (out / LIST).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["path"], row["commit"]) for row in rows] == [
        ("images/someone+photos/photos_a_b.jpg", "photos/a b.jpg", first),
        ("images/other+copies/photos_mirrored.jpg", "photos/mirrored.png", second),
        ("images/other+copies/photos_new.jpg", "photos/new.png", second),
    ]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg")) == sorted(
        row["file"] for row in rows
    )
    assert cv2.imread(str(out / rows[0]["file"])).shape == (427, 640, 3)
    assert cv2.imread(str(out / rows[2]["file"])).shape == (180, 240, 3)


def test_a_copy_in_the_mirror_and_one_of_the_same_source_go(tmp_path: Path) -> None:
    clones, out = tmp_path / "clones", tmp_path / "out"
    pictures = {f"photos/{number}.png": drawn(number) for number in range(6)}
    commit = repository(clones, "a/b", pictures | {"photos/9.png": drawn(5)[:, ::-1]})
    done: list[Gathered] = []
    gather(clones, out, fingerprints([]), [source("a/b", commit)], done.append)
    assert done == [Gathered("a/b", 6, 1, 0)]
    assert not (out / "images/a+b/photos_9.jpg").exists()
    done.clear()
    gather(clones, tmp_path / "some", fingerprints([]), [source("a/b", commit, at_most=3)], done.append)
    kept = sorted(path.stem for path in (tmp_path / "some").rglob("*.jpg"))
    assert (done, kept) == ([Gathered("a/b", 3, 0, 0)], ["photos_0", "photos_2", "photos_4"])


def test_a_clone_that_is_missing_or_older(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"git clone https://github\.com/a/b"):
        gather(tmp_path, tmp_path / "out", fingerprints([]), [source("a/b", "0" * 40)], lambda _: None)
    repository(tmp_path, "a/b", {"photos/1.png": drawn(1)})
    with pytest.raises(DataError, match="does not hold the commit 0000"):
        gather(tmp_path, tmp_path / "out", fingerprints([]), [source("a/b", "0" * 40)], lambda _: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[source]", "is no TOML"),
        ("", "malformed"),
        ('[[source]]\nrepository = "a"', "malformed"),
        (f'[[source]]\nrepository = "a/b"\ncommit = "{"0" * 40}"\npictures = "("\nterms = "x"', "malformed .*pictures"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_sources(path)
    with pytest.raises(DataError, match="no file"):
        read_sources(tmp_path / "none.toml")


def test_nothing_that_others_test_on_is_listed() -> None:
    for listed in read_sources(SOURCES):
        assert not listed.repository.lower().startswith("songwsx/")
        for path in ("CamVid/test/0001TP_008550.png", "BSDS500/data/images/test/2018.jpg", "negative/neg/00001.png"):
            assert not listed.pictures.fullmatch(path)
