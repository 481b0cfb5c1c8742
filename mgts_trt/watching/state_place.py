"""Where what was told is kept, if nobody names a place."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mgts_trt.gallery.lance import is_local, locate


def default_state(people: Sequence[str], sources: Sequence[str], gallery: str | None = None) -> Path | None:
    """A file in the gallery's folder; without a gallery, or for one that is no folder, in the user's folder for state.

    Args:
        people: Whom is watched for, by names and photos: other people, or other sources, have a file of their own.
        sources: What is watched, as it was named.
        gallery: Folder or URL.

    Returns:
        The file; None where this user has no home.
    """
    told = json.dumps([sorted(people), sorted(map(_absolute, sources))])
    name = f"alarms-{hashlib.sha256(told.encode()).hexdigest()[:16]}.jsonl"
    if gallery is not None and is_local(location := locate(gallery)):
        return Path(location) / name
    folder = _state_home()
    return folder and folder / "mgts-trt" / name


def _absolute(source: str) -> str:
    return source if "://" in source else os.path.abspath(source)


def _state_home() -> Path | None:
    named = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(named):  # others are to be ignored, says the XDG Base Directory Specification
        return Path(named)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:  # no home, as in some services
        return None
