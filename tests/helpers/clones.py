"""Clones of repositories, made here."""

import subprocess
from pathlib import Path

import cv2
import numpy as np


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    run = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def repository(clones: Path, name: str, pictures: dict[str, np.ndarray | bytes]) -> str:
    """A clone with pictures at paths; its commit."""
    folder = clones / name.replace("/", "+")
    for path, picture in pictures.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = picture if isinstance(picture, bytes) else cv2.imencode(Path(path).suffix, picture)[1].tobytes()
        (folder / path).write_bytes(data)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "pictures")
    return git(folder, "rev-parse", "HEAD")
