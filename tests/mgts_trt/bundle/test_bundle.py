import json
import shutil
from pathlib import Path

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import FORMAT, MANIFEST, read_manifest
from mgts_trt.errors import BundleError
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "b"))


def edit(folder: Path, change) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def test_opens_and_names_its_files(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.manifest.preset == "tiny"
    assert bundle.model_path("mgts", "fp32") == folder / "mgts.fp32.onnx"
    assert {file.file for file in bundle.manifest.files} == {path.name for path in folder.glob("*.onnx")}


@pytest.mark.parametrize("file", ["detector.fp32.onnx", "idnet.fp32.onnx"])
def test_one_flipped_byte_is_refused(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{file} is altered.*SHA-256"):
        Bundle.open(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "mgts.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated or altered"):
        Bundle.open(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "masknet.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks masknet\.fp32\.onnx"):
        Bundle.open(folder)


def test_a_manifest_from_the_future_is_refused(folder: Path) -> None:
    edit(folder, lambda data: data.update(format=FORMAT + 1, something_new={"a": 1}))
    with pytest.raises(BundleError, match=rf"format {FORMAT + 1}.*reads up to {FORMAT}.*Upgrade mgts-trt"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("canvas"), "canvas"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update(gamma=0.5), "gamma"),
        (lambda d: d["models"].update(other=d["models"]["mgts"]), "unknown models other"),
        (lambda d: d.update(format="1.0"), "format"),
    ],
)
def test_a_malformed_manifest_is_refused(folder: Path, change, message: str) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.open(folder)


@pytest.mark.parametrize("path", ["../detector.onnx", "/etc/passwd", "a/../../b.onnx", "..\\b.onnx", "C:/b.onnx", ""])
def test_a_path_out_of_the_bundle_is_refused(folder: Path, path: str) -> None:
    edit(folder, lambda data: data["models"]["detector"]["files"]["fp32"].update(file=path))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(folder)


def test_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(folder / "idnet.fp32.onnx", outside)
    (folder / "idnet.fp32.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="link that leads out"):
        Bundle.open(folder)


@pytest.mark.parametrize(("make", "what"), [(None, "is not a folder"), (Path.mkdir, "has no manifest")])
def test_what_is_no_bundle_says_so(tmp_path: Path, make, what: str) -> None:
    folder = tmp_path / "none"
    if make:
        make(folder)
    with pytest.raises(BundleError, match=what):
        read_manifest(folder)


def test_a_model_or_precision_that_is_not_there(pristine: Path) -> None:
    bundle = Bundle.open(pristine)
    with pytest.raises(BundleError, match="holds detector in fp32, not in int8"):
        bundle.model_path("detector", "int8")
    with pytest.raises(BundleError, match="has no segmenter"):
        bundle.model("segmenter")
