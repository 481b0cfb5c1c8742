import json
import os
import shutil
from pathlib import Path

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import DIGEST, FORMAT, MANIFEST, read_manifest, seal_manifest
from mgts_trt.errors import BundleError
from mgts_trt.machine.data_files import json_sha256
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "b"))


def edit(folder: Path, change) -> None:
    """Change the manifest, and its digest with it."""
    data = json.loads((folder / MANIFEST).read_text())
    del data[DIGEST]
    change(data)
    (folder / MANIFEST).write_text(json.dumps({**data, DIGEST: json_sha256(data)}))


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
    with pytest.raises(BundleError, match=rf"format {FORMAT + 1}.*reads format {FORMAT}.*Upgrade mgts-trt"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("canvas"), "canvas"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update(gamma=0.5), "gamma"),
        (lambda d: d["models"].update(other=d["models"]["mgts"]), "unknown models other"),
        (lambda d: d.update(format="1.0"), "format"),
        (lambda d: d.update(format=10**6), "format"),
        (lambda d: d.update(canvas=[2**63, 96]), "canvas.0: Input should be less than"),
        (lambda d: d.update(canvas=[96, 64]), "contradicts itself: detector .* Hc = 64, where .* say 96"),
        (lambda d: d.update(pad=[0, 256, 0]), "pad.1"),
        (lambda d: d.update(patch=[0, 0]), "patch.0"),
        (lambda d: d.update(patch=[64, 32]), "contradicts itself: mgts .* Hp = 32, where .* say 64"),
        (lambda d: d.update(embedding=7), "contradicts itself: mgts .* D = 128, where .* say 7"),
        (lambda d: d.update(gamma=1e9), "gamma"),
        (lambda d: d["normalisation"].update(std=[0, 1, 1]), "std.0"),
        (lambda d: d["normalisation"].update(std=[1, 1, 1e-300]), "std.2"),
        (lambda d: d["normalisation"].update(mean=[1, float("1e999"), 1]), "mean.1|not valid JSON"),
        (lambda d: d["thresholds"].update(mask=1.5), "mask"),
        (lambda d: d["models"]["mgts"]["outputs"]["embedding"].update(shape=["N", 2**40]), "embedding.shape.1"),
        (lambda d: d["models"]["mgts"]["outputs"].clear(), "cannot run: mgts: .* expects embedding"),
        (lambda d: d["models"]["mgts"]["inputs"]["original"].update(dtype="uint8"), "cannot run: mgts: original"),
        (lambda d: d.update(models=dict(zip(d["models"], [*d["models"].values()][::-1], strict=True))), "cannot run"),
        (lambda d: d["models"]["mgts"]["files"]["fp32"].update(file="a" * 300), "no name of a file"),
        (lambda d: d["models"]["mgts"]["files"]["fp32"].update(file="a/\x00"), "no name of a file"),
    ],
)
def test_a_malformed_manifest_is_refused(folder: Path, change, message: str) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 10**5, '{"format": ' + "2" * 5000 + "}", "NaN"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.open(folder)


@pytest.mark.parametrize("name", [MANIFEST, "mgts.fp32.onnx"])
def test_a_pipe_in_a_files_place_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


@pytest.mark.parametrize("name", [MANIFEST, "mgts.fp32.onnx"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(folder: Path, name: str) -> None:
    (folder / name).chmod(0)
    with pytest.raises(BundleError, match=rf"Cannot read .*{name}: Permission denied\. Let this user read the bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_a_disk_that_refuses(folder: Path, monkeypatch, error: type[OSError]) -> None:
    def refuse(path: Path) -> str:
        raise error(5, "It refuses", str(path))

    monkeypatch.setattr("mgts_trt.bundle.bundle.file_sha256", refuse)
    with pytest.raises(BundleError, match=r"Cannot read .*onnx: It refuses\."):
        Bundle.open(folder)


def test_what_is_changed_by_hand_is_refused_until_it_is_sealed(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    changed = text.replace('"detection": 0.5', '"detection": 0.6')
    assert changed != text
    (folder / MANIFEST).write_text(changed)
    with pytest.raises(BundleError, match=r"is altered: its digest is not that of what it says.*bundle seal"):
        Bundle.open(folder)
    seal_manifest(folder)
    assert Bundle.open(folder).manifest.thresholds.detection == 0.6


def test_layout_does_not_count(folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(data.items()))))
    Bundle.open(folder)


@pytest.mark.parametrize("older", range(1, FORMAT))
@pytest.mark.parametrize("read", [Bundle.open, seal_manifest])
def test_an_older_format_is_refused_and_says_what_to_do(folder: Path, older: int, read) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**data, "format": older, "versions": {"mgts-trt": "0.0.9"}}))
    with pytest.raises(
        BundleError, match=rf"format {older}.*reads format {FORMAT}\. Export it again.*made it, 0\.0\.9"
    ):
        read(folder)


def test_a_manifest_without_a_digest_is_refused_until_it_is_sealed(folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    del data[DIGEST]
    (folder / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(BundleError, match="is altered: its digest"):
        Bundle.open(folder)
    seal_manifest(folder)
    Bundle.open(folder)


def test_sealing_what_is_wrong_changes_nothing(folder: Path) -> None:
    text = (folder / MANIFEST).read_text().replace('"gamma": 1.3', '"gamma": 0.3')
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="gamma"):
        seal_manifest(folder)
    assert (folder / MANIFEST).read_text() == text


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
