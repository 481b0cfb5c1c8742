"""The artefact: one folder that holds all an appliance needs, checked hash by hash before anything is used."""

import logging
import os
from pathlib import Path
from typing import Self

from mgts_trt.bundle.layout import PLANS
from mgts_trt.bundle.manifest import FORMAT, BundleFile, Manifest, Model, read_manifest
from mgts_trt.errors import BundleError
from mgts_trt.machine.files import file_sha256
from mgts_trt.machine.installation import in_checkout

_log = logging.getLogger(__name__)

_ADVICE = "Copy the bundle again, or export it again."


class Bundle:
    """A bundle on disk whose every file has been checked.

    Example:
        ```python
        bundle = Bundle.open("bundle/")
        bundle.manifest.preset, bundle.model_path("detector", "fp32")
        ```
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read the manifest and check every file against it. A note in the log says if the manifest has no digest.

        Args:
            path: The bundle's folder.

        Raises:
            BundleError: There is no bundle, it is of a newer format, its manifest is malformed, or
                a file is missing or altered.
        """
        root = Path(path)
        manifest = read_manifest(root)
        for file in manifest.files:
            _check_file(root, file)
        if manifest.format < FORMAT:
            _log.warning(
                "The manifest of %s has no digest, so changes go unnoticed. Write one: mgts-trt bundle seal %s",
                root,
                root,
            )
        return cls(root, manifest)

    def model_path(self, model: str, precision: str) -> Path:
        """The ONNX file of `model` in `precision`.

        Raises:
            BundleError: The bundle does not hold it.
        """
        entry = self.model(model)
        if precision not in entry.files:
            raise BundleError(
                f"The bundle {self.root} holds {model} in {', '.join(entry.files)}, not in {precision}. "
                f"Export it with {in_checkout(f'`python -m export --precision {precision}`')}, or ask for one there is."
            )
        return self.root / entry.files[precision].file

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
