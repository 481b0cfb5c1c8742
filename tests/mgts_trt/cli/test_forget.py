import json
import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgts_trt.pictures.image import read_image
from tests.helpers.camera_scenes import scene, write_scenes
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("lancedb")

NOW = time.time()


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A bundle, photos, and a gallery of them: three of no camera, and one of yesterday at the door."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery import Frame, Gallery, Space, entry_of
    from mgts_trt.runtime.pipeline import PersonSearch

    folder = tmp_path_factory.mktemp("filled")
    bundle = Bundle.open(make_tiny_bundle(folder / "bundle"))
    paths = write_scenes(folder / "in", range(4))
    space = Space.of(bundle, "box")
    with PersonSearch(bundle, mode="box", threads=1) as search, Gallery.create(folder / "gallery", space) as gallery:
        for i, path in enumerate(paths):
            frame = Frame(str(path), 0, f"{i + 1}" * 64)
            door = replace(frame, source="front.png", time=NOW - 86400, camera="door")
            gallery.add([entry_of(scene(i), door if i == 3 else frame, search(scene(i)))])
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "f")
    return tmp_path / "f"


@pytest.fixture
def forget(run, folder: Path):
    return lambda *words: run("gallery", "forget", folder / "gallery", *words)


def person(folder: Path) -> list:
    """Options that name the person of the first photo, and whoever looks quite the same."""
    return ["-b", folder / "bundle", "--threads", 1, "-q", folder / "in" / "0000.png", "--likeness", 0.99999]


def count(folder: Path) -> int:
    from mgts_trt.gallery import Gallery

    with Gallery.open(folder / "gallery") as gallery:
        return gallery.count()


def test_a_person_is_shown_first_and_then_forgotten(run, forget, folder: Path, monkeypatch) -> None:
    before, sheet = count(folder), folder / "sheet.png"
    code, out, err = forget(*person(folder), "--dry-run", "--sheet", sheet)
    assert code == 0, err
    n = int(re.search(r"Would be forgotten: (\d+) p", out)[1])
    assert "0000.png" in out
    assert "1.000" in out
    assert "Nothing was changed" in out
    assert read_image(sheet).shape[1] > 400
    code, _, err = forget(*person(folder))
    assert (code, "say --yes" in err) == (2, True)
    for answer, asked in (("n\n", 1), ("y\n", 0)):
        assert count(folder) == before
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
        monkeypatch.setattr("typer.confirm", lambda _, said=answer: said == "y\n")
        code, out, err = forget(*person(folder))
        assert (code, (f"Forgot {n} p" in out)) == (asked, answer == "y\n"), err
    assert 0 < n == before - count(folder)
    code, out, _ = forget(*person(folder), "--yes")
    assert (code, "Nobody in the gallery fulfils this" in out) == (0, True)
    assert run("gallery", "verify", folder / "gallery")[0] == 0
    run("gallery", "audit", "show", folder / "gallery", "--what", "forget", "--json", folder / "log.json")
    told = json.loads((folder / "log.json").read_text())
    assert [(each.get("stage"), each.get("dry_run"), each.get("rows")) for each in told] == [
        *[(None, True, n)] * 4, ("begun", None, None), ("done", None, n), (None, True, 0)
    ]  # fmt: skip
    assert {each["likeness"] for each in told} == {0.99999}
    assert len(told[4]["probes"]) == 1


def test_what_a_camera_saw_and_a_time(forget, folder: Path) -> None:
    before = count(folder)
    code, out, err = forget("--camera", "door", "--since", "2020-01-01", "--dry-run", "--sheet", folder / "s.png")
    assert code == 0, err
    assert "similarity" not in out
    assert "front.png" in out
    assert count(folder) == before
    code, out, err = forget("--since", "2020-01-01T08:00", "--until", "2199-12-31", "--yes")
    assert code == 0, err
    assert "1 file that lay whole within stays out" in out
    assert "no clock is known" in err
    assert 0 < count(folder) < before
    code, out, _ = forget("--camera", "door", "--yes")
    assert (code, "Nobody in the gallery fulfils this" in out) == (0, True)


def test_a_source_may_be_looked_at_first(forget, folder: Path) -> None:
    before = count(folder)
    code, out, _ = forget("0001.png", "--dry-run")
    assert (code, "0001.png" in out, count(folder)) == (0, True, before)
    code, out, err = forget("0001.png")
    assert (code, "It stays out" in out) == (0, True), err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "Nobody is named"),
        (["--likeness", 0.5], "none is named. Name one with --query"),
        (["-q", "a.jpg"], "Give one of --far"),
        (["-q", "a.jpg", "--far", "1e-3", "--likeness", 0.5], "Give one of --far"),
        (["--since", "yesterday"], "--since 'yesterday' is no time"),
        (["--until", "1970-01-02"], "no time of a clock"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "ends before it begins"),
        (["none.jpg", "--camera", "door"], "has nothing of none.jpg"),
    ],
)
def test_what_cannot_be_meant_is_told(forget, folder: Path, words: list, why: str) -> None:
    code, _, err = forget(*words)
    assert code == 2
    assert why in err
    assert "Traceback" not in err
