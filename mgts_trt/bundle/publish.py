"""A bundle that appears whole, or not at all."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mgts_trt.bundle.layout import OF_THE_MODELS, RANGES, SIGNATURE
from mgts_trt.bundle.manifest import MANIFEST, BundleFile, Manifest, write_manifest
from mgts_trt.errors import BundleError
from mgts_trt.machine.files import replace_file

_DIGITS = 12
"""Of a file's digest in its name, where the plain name is taken."""


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


def copy_kept(manifest: Manifest, source: Path, staging: Path) -> None:
    """Copy from another bundle's folder what a new bundle names and has not yet: what it keeps of that one."""
    for file in manifest.files:
        if not (staging / file.file).exists():
            (staging / file.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file.file, staging / file.file)


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


def replace_models(staging: Path, root: Path, old: Manifest, new: Manifest) -> None:
    """Change the models of a bundle that may be in use: its folder holds the whole old one or the whole new one.

    New files come under names that the old manifest does not use; then the new manifest takes the old one's place, in
    one step; then what it no longer names is removed. A kill in between leaves files that nothing names, which the next
    change removes.

    Args:
        staging: Has the files that are new, under the names of `new`.
        root: The bundle's folder.
        old: Its manifest.
        new: What it becomes; it differs in files of models alone.

    Raises:
        OSError: The disk refuses; the bundle is as it was.
    """
    held = {file.file: file for file in old.files}
    models = {}
    for name, model in new.models.items():
        files = {precision: _under_a_free_name(file, staging, held) for precision, file in model.files.items()}
        ranges = model.ranges and _under_a_free_name(model.ranges, staging, held)
        models[name] = model.model_copy(update={"files": files, "ranges": ranges})
    new = new.model_copy(update={"models": models})
    for file in new.files:
        if held.get(file.file) != file:
            (root / file.file).parent.mkdir(exist_ok=True)
            _move(staging / file.file, root / file.file)
    write_manifest(root, new)
    named = {file.file for file in new.files}
    for outdated in (held.keys() | set(_left_behind(root, new))) - named:
        (root / outdated).unlink(missing_ok=True)


def _under_a_free_name(file: BundleFile, staging: Path, held: dict[str, BundleFile]) -> BundleFile:
    if held.get(file.file, file) == file:
        return file
    path = PurePosixPath(file.file)
    name = str(path.with_name(f"{path.stem}.{file.sha256[:_DIGITS]}{path.suffix}"))
    (staging / file.file).rename(staging / name)
    return file.model_copy(update={"file": name})


def _left_behind(root: Path, manifest: Manifest) -> Iterator[str]:
    """Files that `_under_a_free_name` has named, by changes that were killed."""
    models = "|".join(map(re.escape, manifest.models))
    pattern = re.compile(rf"({RANGES}/)?({models})(\.\w+)?\.[0-9a-f]{{{_DIGITS}}}\.(onnx|json)")
    for path in (*root.glob("*.onnx"), *(root / RANGES).glob("*.json")):
        if pattern.fullmatch(name := path.relative_to(root).as_posix()):
            yield name


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the folder of plans may be on another disk
            raise
        with replace_file(target) as temporary:
            shutil.copyfile(source, temporary)
