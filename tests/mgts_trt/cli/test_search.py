"""`mgts-trt search`: several photos, whom it is not, from which similarity on; and what it refuses."""

import json

import cv2
import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import FalseMatches, write_manifest
from mgts_trt.pictures.hiding import COVER
from tests.helpers.tiny_bundle import make_tiny_bundle

ANN, BOB = ((255, 255, 255), (255, 255, 0))


@pytest.fixture
def photos(tmp_path):
    """Three photos of Ann and Bob, in other places each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, ann, bob in (("1", 0, 3), ("2", 1, 4), ("3", 2, 5)):
        image = np.full((64, 96, 3), 60, np.uint8)
        for column, clothes in ((ann, ANN), (bob, BOB)):
            image[:32, 16 * column : 16 * column + 16] = clothes
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    return folder


@pytest.fixture
def calibrated(tmp_path):
    root = make_tiny_bundle(tmp_path / "bundle")
    bundle = Bundle.open(root)
    network = bundle.manifest.models["mgts"].weights
    curve = FalseMatches(
        cosines=(-1.0, 0.9999), far=(1.0, 0.001), pairs=9000, people=30, of="two sets", network=network
    )
    write_manifest(root, bundle.manifest.model_copy(update={"likeness": {"box": curve}}))
    return root


def ranked(run, *words):
    code, out, err = run("search", *words, "--json", "-")
    assert code == 0, err
    return json.loads(out[out.index("{") : out.rindex("}") + 1])


def test_several_photos_and_whom_it_is_not(run, pristine, photos):
    asked = ("--gallery", photos, "--bundle", pristine, "--mode", "box")
    ann, bob = f"{photos}/1.png@4,4", f"{photos}/1.png@52,4"
    alone = ranked(run, "--query", ann, *asked)
    assert {match["source"] for match in alone["matches"]} == {f"{photos}/2.png", f"{photos}/3.png"}
    assert [match["likeness"] for match in alone["matches"][:2]] == pytest.approx([1, 1], abs=1e-3)
    both = ranked(run, "--query", ann, "--query", f"{photos}/2.png@20,4", *asked)
    assert [match["source"] for match in both["matches"]] == [f"{photos}/3.png"] * 2
    assert [each["query"] for each in both["more"]] == [f"{photos}/2.png"]
    warned = ranked(run, "--query", ann, "--not", bob, *asked)
    assert warned["not"][0]["box"][0] == 48
    assert warned["matches"][0]["likeness"] == pytest.approx(1, abs=1e-3)
    # Whoever is more like Bob than like Ann falls back.
    assert warned["matches"][-1]["likeness"] < alone["matches"][-1]["likeness"]


def test_a_sheet_of_several_probes(run, pristine, photos, tmp_path):
    sheets = []
    for negatives in ((), ("--not", f"{photos}/1.png@52,4")):
        sheet = tmp_path / f"{len(negatives)}.png"
        words = ("--query", f"{photos}/1.png@4,4", *negatives, "--gallery", photos, "--bundle", pristine)
        code, out, err = run("search", *words, "--sheet", sheet)
        assert code == 0, err
        sheets.append(cv2.imread(str(sheet)))
    assert "false match" not in out
    assert sheets[0].size <= sheets[1].size


def test_from_a_false_match_rate_on(run, calibrated, pristine, photos):
    asked = ("--query", f"{photos}/1.png@4,4", "--gallery", photos, "--mode", "box")
    everybody = ranked(run, *asked, "--bundle", calibrated)["matches"]
    rates = [match["false_match_rate"] for match in everybody]
    assert rates == sorted(rates)
    few = ranked(run, *asked, "--bundle", calibrated, "--far", 1e-3)["matches"]
    assert few == [match for match in everybody if match["likeness"] >= 0.9999]
    assert 0 < len(few) < len(everybody)
    code, out, _ = run("search", *asked, "--bundle", calibrated, "--far", 1e-3)
    assert (code, "Shown from a similarity of 1.000 on, which 0.001 of other people reach" in out) == (0, True)
    assert "false match" in out
    code, _, err = run("search", *asked, "--bundle", calibrated, "--far", 1e-9)
    assert (code, "Ask for that or more" in err) == (2, True)
    code, _, err = run("search", *asked, "--bundle", pristine, "--far", 1e-3)
    assert (code, "not calibrated in mode box" in err) == (2, True)


@pytest.mark.parametrize("option", [("--where", "camera=3"), ("--frames",), ("--rerank",)])
def test_what_needs_a_gallery(run, pristine, photos, option):
    code, _, err = run("search", "--query", photos / "1.png", "--gallery", photos, "--bundle", pristine, *option)
    assert (code, f"leave {option[0]} out" in err) == (2, True)


def test_in_a_gallery_of_sightings(run, pristine, photos, tmp_path):
    pytest.importorskip("lancedb", reason="needs the extra gallery")
    film, gallery = tmp_path / "film.avi", tmp_path / "gallery"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 5, (96, 64))
    for _ in range(6):  # Ann and Bob stand still
        writer.write(cv2.imread(str(photos / "1.png")))
    writer.release()
    code, _, err = run("index", film, photos / "2.png", "--gallery", gallery, "--bundle", pristine, "--mode", "box")
    assert code == 0, err
    asked = ("--query", f"{photos}/3.png@36,4", "--gallery", gallery, "--bundle", pristine)
    matches = ranked(run, *asked)["matches"]
    assert sorted((match["source"], match.get("sighting", {}).get("frames")) for match in matches) == [
        *[(str(film), 6)] * 2,
        *[(f"{photos}/2.png", None)] * 2,
    ]
    assert len(ranked(run, *asked, "--frames", "--top", 99)["matches"]) == 2 * 6 + 2
    again = ranked(run, *asked, "--rerank", "--query", f"{photos}/1.png@4,4")["matches"]
    assert {match["source"] for match in again} == {str(film), f"{photos}/2.png"}
    code, out, _ = run("search", *asked)
    assert code == 0
    assert "2 sightings and 2 people of photos in the gallery" in " ".join(out.split())
    assert "0:00:00.0–0:00:01.0" in out


def test_a_sheet_without_bystanders(run, pristine, photos, tmp_path):
    """In the tiny bundle nobody overlaps; a box that is named may."""
    asked = ("search", "--query", f"{photos}/1.png@0,0,60,40", "--bundle", pristine, "--mode", "none")
    shown = {}
    for name, words in (("all", ()), ("alone", ("--blur-others",))):
        code, _, err = run(*asked, "--gallery", photos, "--sheet", tmp_path / f"{name}.png", *words)
        assert code == 0, err
        shown[name] = cv2.imread(str(tmp_path / f"{name}.png"))[..., ::-1]
    covered = {name: int((picture == COVER).all(2).sum()) for name, picture in shown.items()}
    assert covered["alone"] > 1_000
    assert covered["all"] < 50
    code, _, err = run(*asked, "--gallery", photos, "--blur-others")
    assert (code, "Name its file with --sheet" in err) == (2, True)
