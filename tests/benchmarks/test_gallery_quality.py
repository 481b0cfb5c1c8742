import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import gallery_quality
from mgts_trt.cli.run import run_app
from mgts_trt.evaluation.labelled import LabelledSet, Labels
from tests.helpers.labelled_sets import make_labelled_set
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("lancedb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny bundle, and a set of one sequence that shows two people in each of three pictures."""
    root = tmp_path_factory.mktemp("quality")
    make_tiny_bundle(root / "bundle")
    make_labelled_set(root / "set" / "street")
    labels = LabelledSet.open(root / "set" / "street").labels
    pictures = tuple(p.model_copy(update={"file": f"street/{p.file}", "masks": None}) for p in labels.pictures)
    Labels(format=1, source=labels.source, pictures=pictures).write(root / "set")
    shutil.rmtree(root / "set" / "street" / "masks")
    return root


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks.gallery_quality", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run_app(gallery_quality.app)
    return int(ended.value.code or 0)


def test_everybody_is_looked_for(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    words = ["--bundle", folder / "bundle", "--labelled", folder / "set", "--mode", "none,box"]
    assert run(monkeypatch, *words, "--sheets", tmp_path / "sheets", "--json", tmp_path / "report.json") == 0
    first, second = json.loads((tmp_path / "report.json").read_text())["results"]
    assert (first["mode"], second["mode"]) == ("none", "box")
    for result in (first, second):
        assert (result["sequence"], result["pictures"], result["people"]) == ("street", 3, 2)
        assert (result["probes"], result["gallery"]) == (6, 6)
        assert 0.5 <= result["map"] <= result["rank_1"] <= 1  # two people of different colours
    assert {path.name for path in (tmp_path / "sheets").iterdir()} == {"street_7.png", "street_9.png"}
    assert "rank-1" in capsys.readouterr().out


def test_pictures_near_the_probes_are_left_out(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    words = ["--bundle", folder / "bundle", "--labelled", folder / "set", "--mode", "none"]
    assert run(monkeypatch, *words, "--gap", 1, "--json", tmp_path / "report.json") == 0
    (result,) = json.loads((tmp_path / "report.json").read_text())["results"]
    assert result["probes"] == 4  # from the first picture to the last, and back
    assert run(monkeypatch, *words, "--gap", 2) == 2
    assert "nobody is shown twice more than 2 pictures apart" in " ".join(capsys.readouterr().err.split())


def test_no_pictures(folder: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "--bundle", folder / "bundle") == 2
    assert "--labelled" in capsys.readouterr().err
