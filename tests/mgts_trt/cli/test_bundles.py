import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.manifest import DIGEST, MANIFEST
from mgts_trt.pictures.image import write_image
from tests.helpers.plan_files import identity, put
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", models=("idnet",))


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "b"))


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """`mgts-trt …`: exit code, and what it prints on both streams in one line."""
    from mgts_trt.cli.app import main

    def _run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mgts-trt", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return int(exit_.value.code or 0), " ".join((printed.out + printed.err).split())

    return _run


def test_a_manifest_is_sealed_after_a_change(bundle: Path, run) -> None:
    text = (bundle / MANIFEST).read_text().replace('"gamma": 1.3', '"gamma": 1.2')
    (bundle / MANIFEST).write_text(text)
    code, told = run("bundle", "seal", bundle)
    assert (code, told) == (0, f"Sealed {bundle}: preset tiny, 1 files")
    sealed = json.loads((bundle / MANIFEST).read_text())
    assert sealed["gamma"] == 1.2
    assert sealed[DIGEST] != json.loads(text)[DIGEST]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_image(tmp_path / "grey.png", np.full((64, 96, 3), 90, np.uint8))
    return tmp_path / "grey.png"


BROKEN = {
    "canvas": lambda text: text.replace('"canvas": [\n    64', f'"canvas": [\n    {2**63}'),
    "patch": lambda text: text.replace('"patch": [\n    32,\n    16', '"patch": [\n    0,\n    0'),
    "embedding": lambda text: text.replace('"embedding": 128', '"embedding": 7'),
    "deviation": lambda text: text.replace('"std": [\n      58.4', '"std": [\n      NaN'),
    "brackets": lambda text: "[" * 100_000,
    "digits": lambda text: text.replace('"gamma": 1.3', f'"gamma": {"1" * 5000}'),
    "model": lambda text: text.replace('"idnet.fp32.onnx"', '"none.onnx"'),
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_ends_in_a_sentence(bundle: Path, run, picture: Path, change, sealed: bool) -> None:
    text = (bundle / MANIFEST).read_text()
    assert change(text) != text
    (bundle / MANIFEST).write_text(change(text))
    commands = [("bundle", "seal", bundle)] if sealed else []  # it writes nothing, but where the manifest is sound
    for command in (*commands, ("inspect", bundle), ("bench", bundle, "--image", picture)):
        code, told = run(*command)
        assert (code, told[:7]) == (2, "Error: "), told
        assert str(bundle) in told
    code, told = run("doctor", bundle)
    assert code == 1
    assert "is whole" not in told


@pytest.mark.parametrize("file", [MANIFEST, "idnet.fp32.onnx"])
def test_a_pipe_ends_in_a_sentence(bundle: Path, run, picture: Path, file: str) -> None:
    (bundle / file).unlink()
    os.mkfifo(bundle / file)
    for command in (("bundle", "seal", bundle), ("inspect", bundle), ("bench", bundle, "--image", picture)):
        code, told = run(*command)
        assert (code, told[:7]) == (2, "Error: "), told
        assert file in told


@pytest.mark.parametrize("command", ["seal", "sign", "verify"])
def test_what_is_no_bundle(tmp_path: Path, run, command: str) -> None:
    key = () if command == "seal" else ("--key", tmp_path / "none.pem")
    code, told = run("bundle", command, tmp_path, *key)
    assert code == 2
    assert told.startswith("Error: ")


def test_a_bundle_is_signed_and_verified(bundle: Path, tmp_path: Path, run) -> None:
    pytest.importorskip("cryptography", reason="needs the extra sign")
    from cryptography.hazmat.primitives import serialization as of
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(of.Encoding.PEM, of.PrivateFormat.PKCS8, of.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(of.Encoding.PEM, of.PublicFormat.SubjectPublicKeyInfo))
    code, told = run("bundle", "verify", bundle, "--key", public)
    assert code == 2
    assert "is not signed" in told
    assert run("bundle", "sign", bundle, "--key", private) == (0, f"Signed {bundle}: 2 files, 0 plans")
    assert run("bundle", "verify", bundle, "--key", public)[0] == 0
    put(bundle / "plans", identity())
    code, told = run("bundle", "verify", bundle, "--key", public)
    assert code == 2
    assert "plan.json is not covered by the bundle's signature" in told
    assert run("bundle", "sign", bundle, "--key", private) == (0, f"Signed {bundle}: 2 files, 1 plans")
    code, told = run("bundle", "verify", bundle, "--key", public)
    assert (code, told) == (0, f"{bundle} is as it was signed with this key: 2 files, 1 plans")
