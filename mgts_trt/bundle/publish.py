"""A bundle that appears whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgts_trt.bundle.layout import OF_THE_MODELS, SIGNATURE
from mgts_trt.bundle.manifest import MANIFEST
from mgts_trt.errors import BundleError


def refuse_to_overwrite(out: Path, *, force: bool) -> None:
    """Raise `BundleError` where `out` holds a bundle that must not be replaced, or is a file."""
    if out.exists() and not out.is_dir():
        raise BundleError(f"{out} is a file; name a folder with --out.")
    if (out / MANIFEST).exists() and not force:
        raise BundleError(f"There is a bundle in {out} already. Replace it with --force, or name another --out.")


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, removed at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.exporting-", dir=out.parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def move_into_place(staging: Path, out: Path) -> None:
    """Put the new files in place of the old ones: the old manifest goes first, the new one comes last."""
    out.mkdir(exist_ok=True)
    out.chmod(0o755)
    for outdated in (MANIFEST, SIGNATURE):
        (out / outdated).unlink(missing_ok=True)
    for old in out.glob("*.onnx"):
        old.unlink()
    for folder in OF_THE_MODELS:
        shutil.rmtree(out / folder, ignore_errors=True)
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file.name == MANIFEST):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / file, out / file)
