"""Who made a bundle: an Ed25519 signature (RFC 8032) over the digests of its manifest and files.

A digest tells a broken disk; whoever changes a file on purpose changes its digest, too. A signature can be made only
with the private key, which stays where bundles are made. Keys are PEM files, as `openssl genpkey -algorithm ed25519`
and `openssl pkey -pubout` write them. This needs the package cryptography, which the extra `sign` brings.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import MANIFEST, Manifest, RelativePath, Sha256
from mgts_trt.errors import SignatureError, first_fault
from mgts_trt.machine.data_files import read_json
from mgts_trt.machine.files import file_sha256, replace_file

Key = str | os.PathLike[str] | bytes
"""The path of a PEM file, or what such a file holds."""

_PURPOSE = b"mgts-trt bundle signature 1\n"
"""Stands before what is signed, so that a signature for something else is none for a bundle."""


class Signature(BaseModel):
    """What `signature.json` holds.

    Attributes:
        files: File of the bundle → its SHA-256: the manifest, what it names, and the sidecars of plans.
        ed25519: Base64 of the signature over `_PURPOSE` and `files`, as JSON with sorted keys and without spaces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    files: dict[RelativePath, Sha256]
    ed25519: Annotated[str, Field(max_length=88)]


def sign_files(root: Path, manifest: Manifest, key: Key, more: Iterable[Path] = ()) -> Signature:
    """Sign a bundle whose files have been checked, and write `signature.json`.

    Args:
        root: The bundle's folder.
        manifest: The bundle's, as it was read.
        key: The private key.
        more: Further files inside `root`.

    Raises:
        SignatureError: cryptography is not installed, the key cannot be used, or the disk refuses.
    """
    private = _load(key, private=True)
    try:
        files = _digests(root, manifest)
        files |= {path.relative_to(root).as_posix(): file_sha256(path) for path in more}
        signature = Signature(files=files, ed25519=base64.b64encode(private.sign(_statement(files))).decode())
        with replace_file(root / SIGNATURE) as temporary:
            temporary.write_text(signature.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SignatureError(f"Cannot sign {root}: {error.filename}: {error.strerror}.") from error
    return signature


def verify_files(root: Path, manifest: Manifest, key: Key) -> dict[str, str]:
    """Check that a bundle is the one that was signed.

    Args:
        root: The bundle's folder.
        manifest: The bundle's, as it was read; its files are checked elsewhere.
        key: The public key.

    Returns:
        File of the bundle → the SHA-256 that was signed.

    Raises:
        SignatureError: There is no signature, it is not by this key, or it is of something else.
    """
    public, signature = _load(key, private=False), read_signature(root)
    from cryptography.exceptions import InvalidSignature  # here: without cryptography, loading the key has told so

    try:
        public.verify(base64.b64decode(signature.ed25519, validate=True), _statement(signature.files))
    except (InvalidSignature, binascii.Error):
        raise SignatureError(
            f"The signature of the bundle {root} is not by the key it is to be of, or {SIGNATURE} is altered. Use a "
            "bundle from who holds the key."
        ) from None
    for file, sha256 in _digests(root, manifest).items():
        if signature.files.get(file) != sha256:
            raise SignatureError(
                f"{root / file} is not the file that was signed: it was changed since. Use the bundle as it was "
                f"signed, or let who holds the key sign it again: mgts-trt bundle sign {root} --key FILE"
            )
    return dict(signature.files)


def _digests(root: Path, manifest: Manifest) -> dict[str, str]:
    return {MANIFEST: file_sha256(root / MANIFEST), **{file.file: file.sha256 for file in manifest.files}}


def _statement(files: dict[str, str]) -> bytes:
    return _PURPOSE + json.dumps(files, sort_keys=True, separators=(",", ":")).encode()


def read_signature(root: Path) -> Signature:
    """Read `signature.json`, without checking it.

    Raises:
        SignatureError: There is none, or it cannot be read.
    """
    path = root / SIGNATURE
    try:
        return Signature.model_validate(read_json(path))
    except FileNotFoundError:
        raise SignatureError(
            f"The bundle {root} is not signed: it has no {SIGNATURE}. Use a bundle that is, or let who holds the key "
            f"sign it: mgts-trt bundle sign {root} --key FILE"
        ) from None
    except OSError as error:
        raise SignatureError(f"Cannot read {path}: {error.strerror}. Copy the bundle again.") from error
    except ValidationError as error:
        raise SignatureError(f"{path} is no signature {first_fault(error)}. Copy the bundle again.") from error
    except ValueError as error:
        raise SignatureError(f"{path} is no signature: {error}. Copy the bundle again.") from error


def _load(key: Key, *, private: bool) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError as error:
        raise SignatureError(
            f"Signatures need the package cryptography, which is not installed ({error}): pip install 'mgts-trt[sign]'"
        ) from error
    kind, make = ("private", "genpkey -algorithm ed25519") if private else ("public", "pkey -pubout -in PRIVATE")
    name = "the key given" if isinstance(key, bytes) else os.fspath(key)
    advice = f"`openssl {make} -out FILE` writes one."
    try:
        pem = key if isinstance(key, bytes) else Path(key).read_bytes()
    except OSError as error:
        raise SignatureError(f"Cannot read {name}: {error.strerror}. Name a PEM file; {advice}") from error
    try:
        loaded = load_pem_private_key(pem, None) if private else load_pem_public_key(pem)
    except TypeError:
        raise SignatureError(f"{name} is locked with a password. Name a file without: {advice}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{name} is no {kind} key in PEM. {advice}") from None
    if not isinstance(loaded, Ed25519PrivateKey if private else Ed25519PublicKey):
        raise SignatureError(f"{name} is a {kind} key, but not of Ed25519. {advice}")
    return loaded
