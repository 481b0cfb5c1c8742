"""The artefact: one folder that holds all an appliance needs, checked hash by hash before anything is used."""

import os
from collections.abc import Mapping
from pathlib import Path

from mgts_trt._typing import Self
from mgts_trt.bundle.layout import PLANS
from mgts_trt.bundle.manifest import BundleFile, Manifest, Model, read_manifest
from mgts_trt.bundle.signature import Key, verify_files
from mgts_trt.errors import BundleError, SignatureError
from mgts_trt.machine.files import file_sha256
from mgts_trt.machine.installation import in_checkout

_ADVICE = "Copy the bundle again, or export it again."


class Bundle:
    """A bundle on disk whose every file has been checked.

    Attributes:
        root: Its folder.
        manifest: What its files are.
        signed: File → SHA-256 of those a signature covers; None where no key was asked for.

    Example:
        ```python
        bundle = Bundle.open("bundle/")
        bundle.manifest.preset, bundle.model_path("detector", "fp32")
        ```
    """

    def __init__(self, root: Path, manifest: Manifest, signed: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.manifest = manifest
        self.signed = signed

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, public_key: Key | None = None) -> Self:
        """Read the manifest and check every file against it.

        Args:
            path: The bundle's folder.
            public_key: Whose signature the bundle must have: the path of a PEM file with an Ed25519 key, or what such
                a file holds. None asks for no signature.

        Raises:
            SignatureError: The bundle is not signed by that key, or was changed since; or the key cannot be used.
            BundleError: There is no bundle, it is of another format, its manifest is malformed, or
                a file is missing or altered.
        """
        root = Path(path)
        manifest = read_manifest(root)
        while True:
            try:
                for file in manifest.files:
                    _check_file(root, file)
                break
            except BundleError:
                # Another process may have put other models in its place just now: what counts is the manifest there is.
                if (current := read_manifest(root)) == manifest:
                    raise
                manifest = current
        return cls(root, manifest, None if public_key is None else verify_files(root, manifest, public_key))

    def model_path(self, model: str, precision: str) -> Path:
        """The ONNX file of `model` in `precision`.

        Raises:
            BundleError: The bundle does not hold it.
        """
        entry = self.model(model)
        if precision not in entry.files:
            raise BundleError(
                f"The bundle {self.root} holds {model} in {', '.join(entry.files)}, not in {precision}. "
                f"{self.how_to_make(precision)}, or ask for one there is."
            )
        return self.root / entry.files[precision].file

    def how_to_make(self, precision: str) -> str:
        """What brings a precision that the bundle lacks: the beginning of a sentence."""
        if precision == "fp32":  # which the others are made from
            return f"Export it with {in_checkout('`python -m export`')}"
        pictures = " --calibration PHOTOS" * (precision == "int8")
        return f"Make it with `mgts-trt convert {self.root} --out DIR --precision fp32,{precision}{pictures}`"

    def model(self, name: str) -> Model:
        """The manifest's entry of one model.

        Raises:
            BundleError: The bundle does not hold it.
        """
        try:
            return self.manifest.models[name]
        except KeyError:
            held = ", ".join(self.manifest.models) or "none"
            raise BundleError(
                f"The bundle {self.root} has no {name}; it holds {held}. Export it again with all models."
            ) from None

    def require_signed(self, path: Path) -> None:
        """Refuse a file that the manifest does not name, unless it is signed or no key was asked for.

        Args:
            path: A file inside the bundle.

        Raises:
            SignatureError: It is not the file that was signed, or none was.
        """
        if self.signed is None:
            return
        try:
            fits = self.signed.get(path.relative_to(self.root).as_posix()) == file_sha256(path)
        except OSError as error:
            raise SignatureError(f"Cannot read {path}: {error.strerror}. {_ADVICE}") from error
        if not fits:
            raise SignatureError(
                f"{path} is not covered by the bundle's signature. Let who holds the key sign the bundle as it is now: "
                f"mgts-trt bundle sign {self.root} --key FILE"
            )

    @property
    def plans(self) -> Path:
        """The folder of the TensorRT plans built from this bundle; it may not exist yet."""
        return self.root / PLANS


def _check_file(root: Path, expected: BundleFile) -> None:
    path = root / expected.file
    try:
        _compare_file(root, path, expected)
    except PermissionError as error:
        raise BundleError(f"Cannot read {path}: {error.strerror}. Let this user read the bundle.") from error
    except OSError as error:
        raise BundleError(f"Cannot read {path}: {error.strerror}. {_ADVICE}") from error


def _compare_file(root: Path, path: Path, expected: BundleFile) -> None:
    if not path.is_file():
        raise BundleError(f"The bundle {root} lacks {expected.file}, which its manifest names. {_ADVICE}")
    if not path.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{path} is a link that leads out of the bundle. Put the file itself there.")
    size = path.stat().st_size
    if size != expected.bytes:
        raise BundleError(
            f"{path} has {size:,} bytes, its manifest says {expected.bytes:,}: it is truncated or altered. {_ADVICE}"
        )
    digest = file_sha256(path)
    if digest != expected.sha256:
        raise BundleError(
            f"{path} is altered: its SHA-256 is {digest[:12]}…, the manifest says {expected.sha256[:12]}…. {_ADVICE}"
        )
