import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the converter writes ONNX")

import onnx

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import BundleFile, Calibration
from mgts_trt.bundle.onnx_graph import opset
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import MgtsError, PrecisionError
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.precisions import add
from mgts_trt.precisions.add import Addition, add_precisions
from mgts_trt.precisions.convert import Conversion, convert_bundle
from mgts_trt.precisions.onnx_file import QUANTISES_HALF
from mgts_trt.runtime.session.backends import on_cpu
from tests.helpers.goldens import add_golden
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import CANVAS, make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("pristine") / "bundle")
    add_golden(root)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four pictures with a bright cell each, less bright from one to the next."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(4):
        picture = np.full((*CANVAS, 3), 90, np.uint8)
        picture[:32, 16 * index : 16 * index + 16] = 255 - 25 * index
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return sorted(folder.glob("*.png"))


def whole(root: Path) -> Bundle:
    """The bundle, opened, which checks all of it; and nothing beside it that is not meant to be there."""
    bundle = Bundle.open(root)
    named = {file.file for file in bundle.manifest.files}
    models = {path.relative_to(root).as_posix() for path in (*root.glob("*.onnx"), *(root / "ranges").glob("*"))}
    assert models <= named
    assert not list(root.glob("plans/.building-*"))
    return bundle


def test_what_lacks_is_made_and_what_is_there_stays(root: Path, photos: list[Path]) -> None:
    before = Bundle.open(root).manifest
    half = add_precisions(Addition(Bundle.open(root), ("fp16",)))
    both = add_precisions(Addition(half, ("fp16", "int8"), photos[:2], despite_parity=True))
    assert both.manifest.golden == before.golden
    for name, model in whole(root).manifest.models.items():
        assert list(model.files) == ["fp32", "fp16", "int8"]
        assert model.files["fp32"] == before.models[name].files["fp32"]
        assert model.files["fp16"] == half.model(name).files["fp16"]
        assert model.ranges == half.model(name).ranges
        for precision, digest in (("fp16", None), ("int8", Calibration.of(photos[:2]).sha256)):
            origin = model.converted[precision]
            assert origin.fp32_sha256 == model.files["fp32"].sha256
            assert origin.calibration_sha256 == digest
            assert {"mgts-trt", "onnx", "onnxruntime"} <= origin.versions.keys()
        assert model.converted["fp16"].at_parity is True
    assert both.manifest.calibration == Calibration.of(photos[:2])
    assert all(row.ok for row in compare_bundle(both, on_cpu("to test", None), precisions=("fp16",)))


def test_every_network_that_is_exported(bundle: Bundle, tmp_path: Path) -> None:
    root = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    made = add_precisions(Addition(Bundle.open(root), ("fp16",), despite_parity=True))  # noise has no margins
    assert set(made.manifest.models) == set(MODELS)
    assert all(list(model.files) == ["fp32", "fp16"] for model in made.manifest.models.values())


def test_nothing_is_made_twice(root: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    job = Addition(Bundle.open(root), ("fp16", "int8"), photos[:2], despite_parity=True)
    first = add_precisions(job)
    monkeypatch.setattr(add, "write_half", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(add, "write_int8", lambda *_: pytest.fail("made again"))
    assert add_precisions(job).manifest == first.manifest, "another process has done it since the bundle was opened"
    assert add_precisions(Addition(first, ("int8", "fp32"))).manifest == first.manifest


def test_other_pictures_calibrate_again(root: Path, photos: list[Path]) -> None:
    def calibrate(pictures: list[Path]) -> Bundle:
        return add_precisions(Addition(Bundle.open(root), ("int8",), pictures, despite_parity=True))

    names = []
    for pictures in (photos[:2], photos[2:], photos[1:3]):
        calibrate(pictures)
        bundle = whole(root)
        assert bundle.manifest.calibration == Calibration.of(pictures)
        assert {list(model.files) == ["fp32", "int8"] for model in bundle.manifest.models.values()} == {True}
        names.append(bundle.model("idnet").files["int8"].file)
    assert names[0] == "idnet.int8.onnx"
    assert names[1].startswith("idnet.int8."), "the old one keeps its name until the new one is in the manifest"
    assert names[1] != names[0]


def test_who_opens_it_meanwhile_finds_the_old_or_the_new_one(
    root: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest changes after it was read, and files it named are removed."""
    add_precisions(Addition(Bundle.open(root), ("int8",), photos[:2], despite_parity=True))
    from mgts_trt.bundle import bundle as module

    check, done = module._check_file, []

    def slowly(*arguments) -> None:
        if not done:
            done.append(True)
            add_precisions(Addition(Bundle.open(root), ("int8",), photos[2:], despite_parity=True))
        check(*arguments)

    monkeypatch.setattr(module, "_check_file", slowly)
    assert Bundle.open(root).manifest.calibration == Calibration.of(photos[2:])


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        (("int8",), "INT8 takes its scales from real pictures, and there are none.*--calibration DIR"),
        (("int4",), "no precision int4"),
        ((), "no precision named"),
    ],
)
def test_what_cannot_be_made(root: Path, precisions: tuple[str, ...], message: str) -> None:
    before = Bundle.open(root).manifest
    with pytest.raises(PrecisionError, match=message):
        add_precisions(Addition(Bundle.open(root), precisions))
    assert whole(root).manifest == before


def test_what_fails_parity_is_not_kept(root: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half, which is good, is kept; INT8, whose scales are a thousandth of what they should be, is not."""
    real = add.write_int8

    def spoilt(name, folder, *arguments):
        model = real(name, folder, *arguments)
        path = folder / model.files["int8"].file
        graph = onnx.load(path)
        for tensor in graph.graph.initializer:
            if tensor.name.endswith(".scale"):
                values = onnx.numpy_helper.to_array(tensor)
                wrong = np.asarray(values / 1000, values.dtype)
                tensor.CopyFrom(onnx.numpy_helper.from_array(wrong, tensor.name))
        onnx.save(graph, path)
        files = {**model.files, "int8": BundleFile.of(folder, path.name)}
        return model.model_copy(update={"files": files})

    monkeypatch.setattr(add, "write_int8", spoilt)
    with pytest.raises(PrecisionError, match=r"int8 is beyond its tolerances in \d+ of \d+ numbers.*--despite-parity"):
        add_precisions(Addition(Bundle.open(root), ("fp16", "int8"), photos))
    bundle = whole(root)
    assert {tuple(model.files) for model in bundle.manifest.models.values()} == {("fp32", "fp16")}
    assert bundle.manifest.calibration is None

    notes: list[str] = []
    add_precisions(Addition(bundle, ("int8",), photos, despite_parity=True, on_note=notes.append))
    assert any("kept all the same" in note for note in notes)
    assert {model.converted["int8"].at_parity for model in whole(root).manifest.models.values()} == {False}


def test_without_goldens_it_says_that_nothing_was_compared(tmp_path: Path, photos: list[Path]) -> None:
    root, notes = make_tiny_bundle(tmp_path / "bare"), []
    with pytest.raises(PrecisionError, match="no goldens to measure ranges on"):
        add_precisions(Addition(Bundle.open(root), ("fp16",)))
    add_precisions(Addition(Bundle.open(root), ("fp16",), photos, on_note=notes.append))
    assert notes == ["The bundle has no goldens, so fp16 was not compared with anything."]
    assert whole(root).model("mgts").converted["fp16"].at_parity is None


def test_a_signed_bundle_is_refused(root: Path) -> None:
    (root / SIGNATURE).write_text("{}")
    with pytest.raises(PrecisionError, match=r"is signed, and fp16 would change.*remove signature\.json"):
        add_precisions(Addition(Bundle.open(root), ("fp16",)))
    assert list(whole(root).model("idnet").files) == ["fp32"]


@pytest.mark.parametrize(
    ("step", "code"),
    [("lock", errno.EROFS), ("staging", errno.EACCES), ("model", errno.ENOSPC), ("manifest", errno.ENOSPC)],
)
def test_a_disk_that_refuses(root: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int) -> None:
    import onnx

    from mgts_trt.bundle import publish

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    module, name = {
        "lock": (Path, "mkdir"), "staging": (Path, "mkdir"), "model": (onnx, "save"),
        "manifest": (publish, "write_manifest"),
    }[step]  # fmt: skip
    before = Bundle.open(root)
    if step == "staging":
        before.plans.mkdir()
        (before.plans / ".lock").touch()
    monkeypatch.setattr(module, name, refuse)
    with pytest.raises(MgtsError, match="Free some space" if code == errno.ENOSPC else "a folder you may write in"):
        add_precisions(Addition(before, ("fp16",)))
    monkeypatch.undo()
    assert Bundle.open(root).manifest == before.manifest
    add_precisions(Addition(before, ("fp16",)))
    assert whole(root).model("idnet").converted["fp16"].at_parity


def test_convert_into_the_same_folder(root: Path) -> None:
    """By the same steps; it drops what was not asked for and the signature, and says so."""
    add_precisions(Addition(Bundle.open(root), ("fp16",)))
    (root / SIGNATURE).write_text("{}")
    notes: list[str] = []
    convert_bundle(Conversion(Bundle.open(root), root, ("fp32",), force=True, on_note=notes.append))
    assert {tuple(model.files) for model in whole(root).manifest.models.values()} == {("fp32",)}
    assert not (root / SIGNATURE).exists()
    assert len(notes) == 1
    assert "without a signature: sign it again" in notes[0]


def test_an_old_opset_that_cannot_be_converted(root: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """FP16 can be made of it, INT8 not; the bundle's files are of opset 17, which ONNX's converter brings to 19."""

    def cannot(*_: object) -> None:
        raise RuntimeError("no adapter")

    half = add_precisions(Addition(Bundle.open(root), ("fp16",)))
    assert opset(onnx.load(half.model_path("idnet", "fp16"))) == QUANTISES_HALF
    monkeypatch.setattr("onnx.version_converter.convert_version", cannot)
    with pytest.raises(PrecisionError, match=r"idnet\.fp32\.onnx is of ONNX's opset 17|detector\.fp32\.onnx is of"):
        add_precisions(Addition(half, ("int8",), photos))
    assert list(whole(root).model("idnet").files) == ["fp32", "fp16"]


RUN = """
import sys
from pathlib import Path
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.precisions.add import Addition, add_precisions
from mgts_trt.precisions.convert import Conversion, convert_bundle
from mgts_trt.bundle.onnx_graph import opset
from mgts_trt.precisions.onnx_file import QUANTISES_HALF
root, *pictures = map(Path, sys.argv[1:])
add_precisions(Addition(Bundle.open(root), ("fp16", "int8"), pictures, despite_parity=True))
"""

KILLED = """
import os, signal, sys
steps = int(os.environ["STEPS"])

def hook(event, arguments):
    global steps
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir") and arguments:
        if str(os.environ["ROOT"]) in " ".join(map(str, arguments)):
            steps -= 1
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""
"""Ends a process before the N-th time that it touches the bundle: each call of the operating system is a step."""


def test_three_at_once(root: Path, photos: list[Path]) -> None:
    command = [sys.executable, "-c", RUN, str(root), *map(str, photos[:2])]
    runs = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for run in runs:
        said = run.communicate(timeout=120)[1]
        assert run.returncode == 0, said
    assert {tuple(model.files) for model in whole(root).manifest.models.values()} == {("fp32", "fp16", "int8")}


def killed_after(steps: int, root: Path, photos: list[Path]) -> bool:
    """Whether the run was killed before it ended."""
    environment = {**os.environ, "STEPS": str(steps), "ROOT": str(root)}
    command = [sys.executable, "-c", KILLED + RUN, str(root), *map(str, photos[:2])]
    code = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("steps", [30, 80, 130])
def test_a_kill_leaves_a_whole_bundle(root: Path, photos: list[Path], steps: int) -> None:
    before = Bundle.open(root)
    assert killed_after(steps, root, photos)
    left = Bundle.open(root)
    held = {tuple(model.files) for model in left.manifest.models.values()}
    assert held in ({("fp32",)}, {("fp32", "fp16")}, {("fp32", "fp16", "int8")})
    json.loads((root / "manifest.json").read_text())
    add_precisions(Addition(before, ("fp16", "int8"), photos[:2], despite_parity=True))
    assert {tuple(model.files) for model in whole(root).manifest.models.values()} == {("fp32", "fp16", "int8")}
