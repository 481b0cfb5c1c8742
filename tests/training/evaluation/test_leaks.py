"""`python -m training leaks`, on sets made here, with and without leaks, and on the public data."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mgts_trt.pictures.folders import find_images
from training.__main__ import app
from training.data.backgrounds import street_scenes
from training.data.datasets.masked import masked_train
from training.data.datasets.reid_splits import crops_train
from training.data.datasets.splits import MARKET_HELD_OUT, penn_fudan_split, real_train
from training.data.sources import files_of
from training.evaluation.leaks import HELD_OUT_LISTS, SAMPLES, find_leaks, held_out_names, person_of
from training.options import Evaluated, load_held_out


def noise(path: Path, seed: int, hw: tuple[int, int] = (96, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, hw[::-1], interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Negatives and Market-1501, all pictures different."""
    folder = tmp_path / "data"
    entries = []
    for number in range(7):
        file = f"images/{number}.png"
        noise(folder / "negatives" / file, number)
        entries.append({"file": file, "persons": []})
    (folder / "negatives/boxes.json").write_text(json.dumps(entries))
    for identity in range(1, MARKET_HELD_OUT + 3):
        name = f"{identity:04d}"
        noise(folder / f"market1501/images/{name}/{name}_c1s1_000001_01.jpg", 100 + identity)
    return folder


def check(root: Path, *options: object) -> tuple[Result, dict]:
    report = root.parent / "leaks.json"
    result = CliRunner().invoke(app, ["leaks", "--root", str(root), "--json", str(report), *map(str, options)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result, json.loads(report.read_text())


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return noise(tmp_path / "samples/1.png", 99).parent


def test_no_leak(root: Path, samples: Path) -> None:
    result, report = check(root, "--samples", samples)
    assert result.exit_code == 0
    assert report["leaks"] == []
    assert report["held_out"] == {"negatives": 2, "market1501": MARKET_HELD_OUT, str(samples): 1}
    assert report["training"] == {"market1501": 2}
    assert report["not_checked"].keys() >= {"real", "composed", "coco_person", "penn_fudan"}
    assert "coco_person was not checked" in " ".join(result.output.split())


def test_a_copy_of_a_held_out_picture(root: Path, samples: Path, tmp_path: Path) -> None:
    held_out = cv2.imread(str(root / "negatives/images/6.png"))
    gathered = noise(tmp_path / "gathered/other.jpg", 300).parent
    cv2.imwrite(str(gathered / "copy.jpg"), cv2.resize(held_out[:, ::-1], None, fx=2, fy=2))
    noise(gathered / "sample.jpg", 99)
    result, report = check(root, "--samples", samples, "--also", gathered)
    assert result.exit_code == 1
    found = {(Path(leak["held_out"]).name, Path(leak["training"]).name): leak for leak in report["leaks"]}
    assert found.keys() == {("6.png", "copy.jpg"), ("1.png", "sample.jpg")}
    assert found["6.png", "copy.jpg"]["mirrored"]
    assert not found["1.png", "sample.jpg"]["mirrored"]


def test_a_held_out_file_itself(root: Path, samples: Path) -> None:
    result, report = check(root, "--samples", samples, "--also", root / "negatives/images")
    assert result.exit_code == 1
    assert [(Path(leak["held_out"]).name, leak["by"]) for leak in report["leaks"]] == [
        ("0.png", "file"),
        ("6.png", "file"),
    ]


def test_another_crop_of_a_held_out_person(root: Path, samples: Path, tmp_path: Path) -> None:
    last = f"{MARKET_HELD_OUT + 2:04d}"
    more = noise(tmp_path / f"market1501_extra/{last}_c3s1_000009_01.jpg", 301).parent
    noise(more / "0001_c4s1_000009_01.jpg", 302)  # who trains anyway
    result, report = check(root, "--samples", samples, "--also", more)
    assert result.exit_code == 1
    assert [(leak["by"], Path(leak["training"]).name) for leak in report["leaks"]] == [
        ("person", f"{last}_c3s1_000009_01.jpg")
    ]


def test_a_file_that_is_no_picture_is_told(root: Path, samples: Path) -> None:
    (root / "negatives/images/6.png").write_bytes(b"none")
    result, report = check(root, "--samples", samples)
    assert result.exit_code == 0
    assert [Path(name).name for name in report["unread"]] == ["6.png"]
    assert "6.png was not compared" in " ".join(result.output.split())


def test_nothing_to_check(tmp_path: Path, samples: Path) -> None:
    result = CliRunner().invoke(app, ["leaks", "--root", str(tmp_path), "--samples", str(samples)])
    assert "holds no set to check" in str(result.exception)


@pytest.mark.parametrize(
    ("path", "person"),
    [
        ("market1501/images/0007/0007_c1s6_028546_04.jpg", "market1501/0007"),
        ("images/market1501_extra/0007_c1s6_028546_01.jpg", "market1501/0007"),
        ("images/viper/000_c2_001.jpg", "viper/000"),
        ("coco_person/images/000000000542.jpg", None),
        ("mot15_static/images/pets_000001.jpg", None),
    ],
)
def test_who_a_crop_shows(path: str, person: str | None) -> None:
    assert person_of(Path("/data", path)) == person


def test_lists_of_what_is_held_out(root: Path, samples: Path, tmp_path: Path) -> None:
    check(root, "--samples", samples, "--lists", tmp_path / "lists")
    assert sorted(path.name for path in (tmp_path / "lists").iterdir()) == ["market1501.txt", "negatives.txt"]
    assert (tmp_path / "lists/negatives.txt").read_text() == "images/0.png\nimages/6.png\n"
    assert not list(tmp_path.glob("*.txt")), "samples are no set"
    people = (tmp_path / "lists/market1501.txt").read_text().split()
    assert people == [f"market1501/{identity:04d}" for identity in range(3, MARKET_HELD_OUT + 3)]


def test_the_committed_lists_are_those_of_the_code(shared_data: Path) -> None:
    written = {path.stem: path.read_text().split() for path in HELD_OUT_LISTS.glob("*.txt")}
    assert len(written) >= 8
    for name, names in written.items():
        files = files_of(load_held_out(Evaluated(name), shared_data / name, length=1))
        assert held_out_names({name: files}, shared_data) == {name: names}


@pytest.mark.slow
def test_the_public_data_has_no_leak(shared_data: Path) -> None:
    kept = {
        name: files_of(load_held_out(Evaluated(name), shared_data / name, length=1))
        for name in (path.stem for path in HELD_OUT_LISTS.glob("*.txt"))
    }
    trained = {
        "real": files_of(real_train(shared_data)),
        "penn_fudan": files_of(penn_fudan_split(shared_data / "penn_fudan")[0]),
        "streets": files_of(street_scenes(shared_data)),
        "masks": files_of(masked_train(shared_data)),
        "crops": files_of(crops_train(shared_data)),
    }
    kept["samples"] = set(find_images(SAMPLES))
    assert find_leaks(trained, kept).found == ()
