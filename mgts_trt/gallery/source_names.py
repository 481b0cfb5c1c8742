"""What the sources of a gallery are called: shown short, and found again by whatever they were shown as.

A gallery holds a source's absolute path; its URL, without user name and password; or the name that came with a picture
over HTTP. A path that is no UTF-8 is held as a `file://` URL.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.opened import Opened
from mgts_trt.urls import file_path, without_login

_LISTED = 5
"""Sources an error names."""


def short_names(sources: Sequence[str]) -> list[str]:
    """Paths without the folder that all of them lie in; names and URLs as they are."""
    paths = {source for source in sources if os.path.isabs(source)}
    base = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(source, base) if source in paths else source for source in sources]


def find_source(gallery: Opened, text: str) -> str:
    """The name of the one source that a text stands for.

    Args:
        gallery: Which.
        text: The name itself; a path, relative to where this runs, or a `file://` URL; a URL with its password; or the
            end of a path, from after a `/`, as tables show it.

    Raises:
        GalleryError: The gallery has none such, or several; or it cannot be read.
    """
    return find_among(names_of(gallery), text, gallery.url)


def find_among(names: Collection[str], text: str, url: str) -> str:
    """The same, among the names of the gallery, or galleries, at a URL.

    Raises:
        GalleryError: There is none such, or there are several.
    """
    for candidate in readings(text):
        if candidate in names:
            return candidate
    ending = sorted(name for name in names if name.endswith(f"/{text}"))
    if len(ending) == 1:
        return ending[0]
    if ending:
        listed = ", ".join(ending[:_LISTED]) + ", …" * (len(ending) > _LISTED)
        raise GalleryError(f"{text} may be any of {len(ending)} sources: {listed}. Name one of them whole.")
    raise GalleryError(f"The gallery {url} has nothing of {without_login(text)}. Name a source as `search` shows it.")


def readings(text: str) -> list[str]:
    """What a text may stand for, the likeliest first; see `find_source`."""
    path = file_path(text) if text.startswith("file:") else text
    readings = [text, without_login(text)]
    if "\0" not in path:
        absolute = os.path.abspath(path)
        readings += [path, absolute, Path(absolute).as_uri()]
    return readings


def names_of(gallery: Opened) -> set[str]:
    """All of a gallery.

    Raises:
        GalleryError: It cannot be read.
    """
    names = set[str]()
    with explained("read", gallery.url):
        for table in gallery.tables:  # of a frame cut off half-way there are only people
            names.update(retried(table.search().select(["source"]).to_arrow)["source"].unique().to_pylist())
    return names
