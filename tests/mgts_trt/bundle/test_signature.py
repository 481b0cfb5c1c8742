import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import MANIFEST, BundleFile, read_manifest, seal_manifest, write_manifest
from mgts_trt.bundle.signature import sign_files
from mgts_trt.errors import SignatureError
from mgts_trt.plans.plan import RECORD, find_plan
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.plan_files import identity, put
from tests.helpers.tiny_bundle import make_model, make_tiny_bundle

pytest.importorskip("cryptography", reason="needs the extra sign")


def pem(private, public: bool = False) -> bytes:
    from cryptography.hazmat.primitives import serialization as of

    if public:
        return private.public_key().public_bytes(of.Encoding.PEM, of.PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(of.Encoding.PEM, of.PrivateFormat.PKCS8, of.NoEncryption())


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> SimpleNamespace:
    """Files of a pair of keys, and the public key of another pair."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    folder = tmp_path_factory.mktemp("keys")
    one, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    files = {"private": pem(one), "public": pem(one, True), "other": pem(other, True), "stranger": pem(other)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return SimpleNamespace(**{name: folder / name for name in files})


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path, keys) -> Path:
    """A signed bundle."""
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    sign_files(root, read_manifest(root), keys.private)
    return root


def test_a_signed_bundle_opens_for_its_key(folder: Path, keys) -> None:
    opened = Bundle.open(folder, public_key=keys.public)
    assert opened.signed is not None
    assert opened.signed.keys() == {MANIFEST, *(file.file for file in opened.manifest.files)}
    assert Bundle.open(folder, public_key=str(keys.public)).signed == opened.signed
    assert Bundle.open(folder, public_key=keys.public.read_bytes()).signed == opened.signed
    assert Bundle.open(folder).signed is None


def test_another_key_is_refused(folder: Path, keys) -> None:
    with pytest.raises(SignatureError, match="is not by the key"):
        Bundle.open(folder, public_key=keys.other)


def test_what_is_not_signed_is_refused_if_a_key_is_asked_for(pristine: Path, keys) -> None:
    Bundle.open(pristine)
    with pytest.raises(SignatureError, match=r"is not signed: it has no signature\.json.*bundle sign"):
        Bundle.open(pristine, public_key=keys.public)


def exchange(root: Path) -> None:
    """Put another network of the same form in a model's place, and let every digest fit."""
    model = make_model("mgts")
    next(w for w in model.graph.initializer if len(w.dims) == 2).raw_data = bytes(4 * 128 * 256)
    onnx.save(model, root / "mgts.fp32.onnx")
    manifest = read_manifest(root)
    files = {"fp32": BundleFile.of(root, "mgts.fp32.onnx")}
    models = {**manifest.models, "mgts": manifest.models["mgts"].model_copy(update={"files": files})}
    write_manifest(root, manifest.model_copy(update={"models": models}))


def retune(root: Path) -> None:
    text = (root / MANIFEST).read_text()
    (root / MANIFEST).write_text(text.replace('"detection": 0.5', '"detection": 0.9'))
    seal_manifest(root)


def resign(root: Path) -> None:
    """Let the signature name what is there, as far as can be done without the key."""
    data = json.loads((root / SIGNATURE).read_text())
    data["files"][MANIFEST] = BundleFile.of(root, MANIFEST).sha256
    data["files"]["mgts.fp32.onnx"] = BundleFile.of(root, "mgts.fp32.onnx").sha256
    (root / SIGNATURE).write_text(json.dumps(data))


@pytest.mark.parametrize("change", [exchange, retune])
def test_what_is_altered_and_hashed_again_is_refused(folder: Path, keys, change) -> None:
    change(folder)
    Bundle.open(folder)
    for open_ in (Bundle.open, PersonSearch.open):
        with pytest.raises(SignatureError, match=r"manifest\.json is not the file that was signed"):
            open_(folder, public_key=keys.public)
    resign(folder)
    with pytest.raises(SignatureError, match="is not by the key"):
        Bundle.open(folder, public_key=keys.public)
    sign_files(folder, read_manifest(folder), keys.private)
    Bundle.open(folder, public_key=keys.public)


def test_who_holds_another_key_cannot_sign(folder: Path, keys) -> None:
    exchange(folder)
    sign_files(folder, read_manifest(folder), keys.stranger)
    with pytest.raises(SignatureError, match="is not by the key"):
        Bundle.open(folder, public_key=keys.public)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"ed25519": "', '"ed25519": "ü'),
        lambda text: text.replace('"ed25519": "', '"ed25519": "AAAA'),
        lambda text: text.replace("mgts.fp32.onnx", "../mgts.onnx"),
        lambda text: text.replace("mgts.fp32.onnx", "other.onnx"),
    ],
)
def test_an_altered_signature(folder: Path, keys, change) -> None:
    text = (folder / SIGNATURE).read_text()
    (folder / SIGNATURE).write_text(change(text))
    with pytest.raises(SignatureError, match=r"signature"):
        Bundle.open(folder, public_key=keys.public)


def test_a_signature_for_something_else_is_none_for_a_bundle(folder: Path, keys) -> None:
    import base64

    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = json.loads((folder / SIGNATURE).read_text())
    bare = json.dumps(data["files"], sort_keys=True, separators=(",", ":")).encode()
    other = load_pem_private_key(keys.private.read_bytes(), None).sign(bare)
    (folder / SIGNATURE).write_text(json.dumps({**data, "ed25519": base64.b64encode(other).decode()}))
    with pytest.raises(SignatureError, match="is not by the key"):
        Bundle.open(folder, public_key=keys.public)


def test_a_plan_must_be_signed_too(folder: Path, keys) -> None:
    plan = put(folder / "plans", identity())
    assert find_plan(Bundle.open(folder), identity()).folder == plan
    with pytest.raises(SignatureError, match=r"plan\.json is not covered by the bundle's signature"):
        find_plan(Bundle.open(folder, public_key=keys.public), identity())
    sign_files(folder, read_manifest(folder), keys.private, [plan / RECORD])
    assert find_plan(Bundle.open(folder, public_key=keys.public), identity()).folder == plan
    (plan / RECORD).write_text((plan / RECORD).read_text() + "\n")
    with pytest.raises(SignatureError, match=r"plan\.json is not covered"):
        find_plan(Bundle.open(folder, public_key=keys.public), identity())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"Cannot read .*No such file.*openssl pkey"),
        (b"no key", "no public key in PEM"),
        ("private", "no public key in PEM"),
        ("rsa", r"not of Ed25519.*openssl pkey"),
    ],
)
def test_keys_that_cannot_be_used(folder: Path, tmp_path: Path, keys, content, told: str) -> None:
    if content == "rsa":
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

        content = pem(generate_private_key(65537, 2048), True)
    elif content == "private":
        content = keys.private.read_bytes()
    if content is not None:
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(SignatureError, match=told):
        Bundle.open(folder, public_key=tmp_path / "key.pem")


def test_private_keys_that_cannot_be_used(folder: Path, keys) -> None:
    from cryptography.hazmat.primitives import serialization as of
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    locked = load_pem_private_key(keys.private.read_bytes(), None).private_bytes(
        of.Encoding.PEM, of.PrivateFormat.PKCS8, of.BestAvailableEncryption(b"secret")
    )
    for key, told in ((locked, "locked with a password"), (keys.public, "no private key in PEM")):
        with pytest.raises(SignatureError, match=told):
            sign_files(folder, read_manifest(folder), key)


def test_without_the_package(folder: Path, keys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    Bundle.open(folder)
    with pytest.raises(SignatureError, match=r"cryptography, which is not installed.*pip install 'mgts-trt\[sign\]'"):
        Bundle.open(folder, public_key=keys.public)
