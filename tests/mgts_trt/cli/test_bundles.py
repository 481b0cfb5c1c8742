import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mgts_trt.bundle.manifest import DIGEST, MANIFEST
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
    """`mgts-trt bundle …`: exit code, and what it prints on both streams in one line."""
    from mgts_trt.cli.app import main

    def _run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mgts-trt", "bundle", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return int(exit_.value.code or 0), " ".join((printed.out + printed.err).split())

    return _run


def test_a_manifest_is_sealed_after_a_change(bundle: Path, run) -> None:
    text = (bundle / MANIFEST).read_text().replace('"gamma": 1.3', '"gamma": 1.2')
    (bundle / MANIFEST).write_text(text)
    code, told = run("seal", bundle)
    assert (code, told) == (0, f"Sealed {bundle}: preset tiny, 1 files")
    sealed = json.loads((bundle / MANIFEST).read_text())
    assert sealed["gamma"] == 1.2
    assert sealed[DIGEST] != json.loads(text)[DIGEST]


@pytest.mark.parametrize("command", ["seal", "sign", "verify"])
def test_what_is_no_bundle(tmp_path: Path, run, command: str) -> None:
    key = () if command == "seal" else ("--key", tmp_path / "none.pem")
    code, told = run(command, tmp_path, *key)
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
    code, told = run("verify", bundle, "--key", public)
    assert code == 2
    assert "is not signed" in told
    assert run("sign", bundle, "--key", private) == (0, f"Signed {bundle}: 2 files, 0 plans")
    assert run("verify", bundle, "--key", public)[0] == 0
    put(bundle / "plans", identity())
    code, told = run("verify", bundle, "--key", public)
    assert code == 2
    assert "plan.json is not covered by the bundle's signature" in told
    assert run("sign", bundle, "--key", private) == (0, f"Signed {bundle}: 2 files, 1 plans")
    code, told = run("verify", bundle, "--key", public)
    assert (code, told) == (0, f"{bundle} is as it was signed with this key: 2 files, 1 plans")
