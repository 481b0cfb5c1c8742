"""The folder of a model in Triton's repository: complete before Triton sees it, and replaced only if it is ours."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import write_text
from mgts_trt.open_inference.models import VERSION
from mgts_trt.triton.model_config import ModelConfig
from mgts_trt.version import __version__

CONFIG = "config.pbtxt"
MARK = "Written by mgts-trt"
"""In each `config.pbtxt`: what may be replaced."""


def require_replaceable(folder: Path, *, force: bool) -> None:
    """Raise `MgtsError` if a model's folder is there, and not ours or not to be replaced."""
    if not folder.exists():
        return
    try:
        ours = MARK in (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        ours = False
    if not ours:
        raise MgtsError(f"{folder} is there, and not from mgts-trt. Move it away, or name another --out.")
    if not force:
        raise MgtsError(f"There is a model in {folder} already. Replace it with --force, or name another --out.")


def write_model(config: ModelConfig, files: Mapping[str, str | Path], out: Path) -> None:
    """Write a model.

    Args:
        config: What Triton is told of it.
        files: Names in the folder of its version → text, or a file that is copied.
        out: The repository.

    Raises:
        OSError: It cannot be written.
    """
    staging, folder = out / f".{config.name}.part", out / config.name
    shutil.rmtree(staging, ignore_errors=True)
    try:
        (staging / VERSION).mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, staging / VERSION / name)
            else:
                write_text(staging / VERSION / name, content)
        write_text(staging / CONFIG, f"# {MARK} {__version__}\n{config.text()}")
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
