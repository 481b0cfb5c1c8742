"""`mgts-trt import`: what it shows, what it writes, and what it cannot read of its options."""

import shutil

import numpy as np
import onnx
import pytest
import typer

from mgts_trt.bundle.bundle import Bundle
from tests.helpers.joint_files import joint_model
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


@pytest.fixture(params=["a re-ID network", "both"])
def theirs(request, run, pristine, reid, tmp_path):
    """A bundle of others' files; where PyTorch is there to export one, with another's detector, too."""
    made = tmp_path / "theirs"
    files = ["--into", pristine]
    if request.param == "both":
        files = ["--detector", _detector(tmp_path / "yolox.onnx"), "--person", 1, "--threshold", 0.3]
    code, _, err = run("import", "--reid", reid, *files, "--out", made)
    assert code == 0, err
    return made


def _detector(path):
    pytest.importorskip("torch")
    from tests.helpers import detector_modules as modules

    plant = np.full((modules.CELLS, 8), -12.0)
    plant[:, :4] = 0.1
    plant[111] = [0.25, 0.5, np.log(2), np.log(3), 2.2, -12, 2.2, -12]
    modules.torch.manual_seed(0)
    onnx.save(modules.exported(modules.YoloX(plant), modules.Export(False, 11), ["output"]), path)
    return path


ELSEWHERE = {
    "serve": "test_the_service_takes_it",
    "build": "its plans need TensorRT: tests/mgts_trt/plans/builder builds what is imported",
    "diff": "needs Polygraphy, and compares the files that `convert` made, whoever brought them",
    "bundle sign": "test_bundles.py: it signs files, and asks nothing about networks",
    "bundle verify": "as bundle sign",
    "deepstream": "its networks are the bundle's; tests/mgts_trt/deepstream",
    "watch": "tests/mgts_trt/watching: it needs a video",
}
"""Commands that take a bundle and are not run here on others' networks, and why."""


def after_the_import(theirs, photo, tmp_path):
    """Every command that is given a bundle, in the mode it holds, without its being named."""
    half, gallery, pictures = tmp_path / "half", tmp_path / "gallery", tmp_path / "pictures"
    pictures.mkdir(exist_ok=True)
    for name in ("1.png", "2.png"):
        shutil.copy(photo, pictures / name)
    return (
        ("parity", theirs, "--backend", "onnxruntime"),
        ("detect", photo, "--bundle", theirs, "--out", tmp_path / "out", "--people", 1),
        ("bench", theirs, "--image", photo, "--runs", 1, "--backend", "onnxruntime"),
        ("tune", theirs, "--image", photo, "--rounds", 1),
        ("doctor", theirs),
        ("index", photo, "--gallery", gallery, "--bundle", theirs),
        ("search", "--query", photo, "--gallery", gallery, "--bundle", theirs, "--include-own"),
        ("gallery", "forget", gallery, "--query", photo, "--likeness", 0.5, "--bundle", theirs, "--yes"),
        ("triton", theirs, "--out", tmp_path / "models"),
        ("bundle", "seal", theirs),
        ("convert", theirs, "--out", half, "--precision", "fp32,fp16"),
        ("parity", half, "--backend", "onnxruntime", "--precision", "fp16"),
        ("sensitivity", theirs, "--calibration", pictures),
        ("inspect", theirs),
    )


def test_what_comes_after_takes_it(run, theirs, photo, tmp_path):
    for words in after_the_import(theirs, photo, tmp_path):
        code, out, err = run(*words)
        assert code == 0, (words, out, err)
    half = tmp_path / "half"
    assert Bundle.open(half).model("idnet").imported == Bundle.open(theirs).model("idnet").imported
    code, _, err = run("detect", photo, "--bundle", theirs, "--mode", "net", "--out", tmp_path / "out")
    assert code == 2
    assert "Take --mode none" in err


def test_the_service_takes_it(theirs, photo, tmp_path):
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    from tests.helpers.running_service import serving

    with serving(tmp_path, bundle=theirs) as running, running.client() as client:
        answer = client.post("/embed", files={"image": photo.read_bytes()}, data={"boxes": "[[32, 0, 64, 64]]"})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["people"]) == 1


def test_no_command_that_takes_a_bundle_is_forgotten(theirs, photo, tmp_path):
    """A new command is run on others' networks above, or says why not."""
    from mgts_trt.cli.app import app

    def commands(command, path=()):
        for name, inner in getattr(command, "commands", {}).items():
            yield from commands(inner, (*path, name))
        if any(parameter.name == "bundle" for parameter in command.params):
            yield " ".join(path)

    told = {" ".join(map(str, words)) for words in after_the_import(theirs, photo, tmp_path)}
    for command in commands(typer.main.get_command(app)):
        assert command in ELSEWHERE or any(line.startswith(command) for line in told), command


def test_a_joint_network_goes_through_every_command(run, photo, tmp_path):
    made, half, gallery = tmp_path / "made", tmp_path / "half", tmp_path / "gallery"
    onnx.save(joint_model(), tmp_path / "seqnet.onnx")
    for words in (
        ("import", "--joint", tmp_path / "seqnet.onnx", "--out", made, "--dry-run"),
        ("import", "--joint", tmp_path / "seqnet.onnx", "--out", made),
        ("parity", made, "--backend", "onnxruntime"),
        ("bench", made, "--image", photo, "--runs", 1, "--backend", "onnxruntime"),
        ("index", photo, "--gallery", gallery, "--bundle", made),
        ("convert", made, "--out", half, "--precision", "fp32,fp16"),
        ("parity", half, "--backend", "onnxruntime", "--precision", "fp16"),
        ("inspect", made),
    ):
        code, out, err = run(*words)
        assert code == 0, (words, out, err)
        assert made.exists() == ("--dry-run" not in words)
    assert Bundle.open(half).model("joint").imported == Bundle.open(made).model("joint").imported


def test_another_detector_keeps_all_networks(run, pristine, tmp_path):
    made, detector = tmp_path / "made", _detector(tmp_path / "yolox.onnx")
    code, out, err = run("import", "--into", pristine, "--detector", detector, "--person", 1, "--out", made)
    assert code == 0, err
    assert "kept: masknet, mgts, idnet" in out
    before, after = Bundle.open(pristine).manifest, Bundle.open(made).manifest
    assert {name: after.models[name] for name in ("masknet", "mgts", "idnet")} == {
        name: before.models[name] for name in ("masknet", "mgts", "idnet")
    }
    assert after.models["detector"].imported.file == "yolox.onnx"
    assert run("parity", made, "--backend", "onnxruntime")[0] == 0
    code, _, err = run(
        "import", "--into", pristine, "--detector", detector, "--canvas", "128x96", "--out", tmp_path / "b"
    )
    assert (code, "Leave --canvas out" in " ".join(err.split())) == (2, True), err


def test_a_gallery_of_another_network_is_refused(run, theirs, pristine, photo, tmp_path):
    code, _, err = run("index", photo, "--gallery", tmp_path / "g", "--bundle", pristine, "--mode", "none")
    assert code == 0, err
    code, _, err = run("index", photo, "--gallery", tmp_path / "g", "--bundle", theirs)
    assert (code, "cannot be compared" in " ".join(err.split())) == (2, True), err


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
