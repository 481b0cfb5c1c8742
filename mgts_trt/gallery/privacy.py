"""Whose a gallery's files are: their owner's alone."""

from pathlib import Path

from mgts_trt.machine.private import keep_private, make_private

AUDIT = "_audit"
"""Folder in a gallery that holds the log of who did what."""
_OWN = ("*.lance", "_*", "watched", "alarms-*.jsonl", ".alarms-*.lock")


def keep_gallery_private(folder: Path) -> None:
    """Make a gallery's folder, if it is not there, and keep it and all in it from others.

    Where the folder holds other things as well, as it does for who says `--gallery .`, only what is the gallery's is
    closed.

    Raises:
        OSError: The folder cannot be made.
    """
    if not folder.is_dir():
        make_private(folder)
        return
    entries = list(folder.iterdir())
    own = [entry for entry in entries if any(entry.match(pattern) for pattern in _OWN)]
    for each in [folder] if len(own) == len(entries) else own:
        keep_private(each)
