"""Which bundle is meant where none is named."""

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from mgts_trt.bundle.manifest import MANIFEST
from mgts_trt.errors import BundleError
from mgts_trt.machine.installation import checkout, in_checkout
from mgts_trt.version import __version__

VARIABLE = "MGTS_BUNDLE"

GROUP = "mgts_trt.bundles"
"""Entry points of distributions that bring a bundle; each names a package whose folder is the bundle."""

WHEEL = f"mgts_trt_edge-{__version__}-py3-none-any.whl"
"""The demonstration's bundle, as `make dist` packs it."""


def default_bundle() -> Path:
    """`$MGTS_BUNDLE`, else the first there is: `./bundle`, the one of the checkout this runs from, an installed one.

    Raises:
        BundleError: There is none, or several are installed.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    root = checkout()
    for folder in (Path("bundle"), *([root / "bundle"] if root else [])):
        if (folder / MANIFEST).is_file():
            return folder
    installed = list(installed_bundles())
    if len(installed) > 1:
        raise BundleError(
            f"No bundle was named, and {len(installed)} are installed: {', '.join(map(str, installed))}. "
            f"Name one of these folders, or set {VARIABLE}."
        )
    if not installed:
        raise BundleError(
            f"No bundle was named, and there is none in ./bundle, nor installed as a package. Name its folder, or set "
            f"{VARIABLE}. The demonstration's is installed by `pip install {WHEEL}`, a file that "
            f"{in_checkout('`make dist`')} writes; {in_checkout('`python -m export --out DIR`')} writes your own."
        )
    return installed[0]


def installed_bundles() -> Iterator[Path]:
    """The folders of the bundles that installed distributions bring, in the order of their names."""
    for entry in sorted(entry_points(group=GROUP)):
        spec = find_spec(entry.value)
        for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
            if (folder / MANIFEST).is_file():
                yield folder
