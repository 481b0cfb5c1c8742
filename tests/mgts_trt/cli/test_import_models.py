"""`mgts-trt import`: what it shows, what it writes, and what it cannot read of its options."""

import pytest

from mgts_trt.bundle.bundle import Bundle
from tests.helpers.reid_files import save_reid


@pytest.fixture
def reid(tmp_path):
    return save_reid(tmp_path / "osnet.onnx")


def test_shows_and_writes(run, pristine, reid, tmp_path):
    made = tmp_path / "made"
    words = ("import", "--into", pristine, "--reid", reid, "--out", made, "--licence", "MIT")
    code, out, err = run(*words, "--dry-run")
    assert code == 0, err
    for shown in ("any number of people at once", "masknet, mgts", "torchreid's", "Nothing was written"):
        assert shown in out
    assert not made.exists()
    code, out, err = run(*words)
    assert code == 0, err
    assert "give a cosine of at least" in out
    assert Bundle.open(made).model("idnet").imported.licence == "MIT"
    code, out, _ = run("parity", made, "--backend", "onnxruntime")
    assert code == 0
    assert "cosine, author's resize" in out


def test_what_comes_after_takes_it(run, pristine, reid, photo, tmp_path):
    """Detection and bench in the mode it holds, without its being named."""
    made = tmp_path / "made"
    assert run("import", "--into", pristine, "--reid", reid, "--out", made)[0] == 0
    code, out, err = run("detect", photo, "--bundle", made, "--out", tmp_path / "out")
    assert code == 0, err
    assert "mode none" in out
    code, out, err = run("bench", made, "--image", photo, "--runs", 1, "--backend", "onnxruntime")
    assert code == 0, err
    assert "none" in out
    code, _, err = run("detect", photo, "--bundle", made, "--mode", "net", "--out", tmp_path / "out")
    assert code == 2
    assert "Take --mode none" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reid-size", "256"), "--reid-size '256' is no size. Give HEIGHTxWIDTH"),
        (("--canvas", "axb"), "--canvas 'axb' is no size"),
        (("--reid-mean", "1,2"), "--reid-mean '1,2' is not three numbers"),
        (("--pad", "1.5,2,3"), "--pad '1.5,2,3' is no colour"),
        (("--detector-output", "boxes"), "--detector-output 'boxes' names no output"),
        (("--reid-range", "100"), "value range is 1, 255, not 100"),
    ],
)
def test_options_that_cannot_be_read(run, reid, tmp_path, options, message):
    code, _, err = run("import", "--reid", reid, "--out", tmp_path / "made", *options)
    assert (code, message in " ".join(err.split())) == (2, True), err


def test_somewhere_to_write_to(run, reid):
    code, _, err = run("import", "--reid", reid)
    assert (code, "Name a folder with --out" in err) == (2, True)
