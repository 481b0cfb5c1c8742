"""`python -m training gather`, on a clone made here."""

from pathlib import Path

import cv2
from typer.testing import CliRunner

from mgts_trt.pictures.folders import find_images
from tests.helpers.clones import repository
from tests.helpers.training_scenes import drawn
from training.__main__ import app
from training.evaluation.leaks import SAMPLES


def test_photos_are_gathered_but_neither_known_ones_nor_the_samples(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.mkdir()
    cv2.imwrite(str(known / "1.png"), drawn(1))
    sample = cv2.imread(str(find_images(SAMPLES)[0]))
    commit = repository(
        tmp_path / "clones",
        "a/b",
        {"1.jpg": drawn(1), "2.jpg": drawn(2), "sample.jpg": sample, "icon.jpg": drawn(3, 9, 9)},
    )
    sources = tmp_path / "list.toml"
    sources.write_text(
        f'[[source]]\nrepository = "a/b"\ncommit = "{commit}"\npictures = \'.*\\.jpg\'\nterms = "for research"\n'
    )
    arguments = ["gather", tmp_path / "clones", "--out", tmp_path / "out", "--known", known, "--sources", sources]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.exception
    assert [path.name for path in (tmp_path / "out").rglob("*.jpg")] == ["2.jpg"]
    assert (tmp_path / "out/sources.csv").read_text().splitlines()[1].startswith("images/a+b/2.jpg,a/b,2.jpg,")
    assert result.output.split()[-4:] == ["a/b", "1", "2", "1"]
