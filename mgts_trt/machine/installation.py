"""How this copy was installed, from a checkout or as a wheel, and so which advice fits it.

`pip install 'mgts-trt[EXTRA]'` fits both: what is installed already satisfies it, and an editable install stays one.
"""

from collections.abc import Iterable
from pathlib import Path

from mgts_trt.version import __version__

WHERE = "in a checkout of mgts-trt"


def checkout() -> Path | None:
    """The checkout this runs from; None for a wheel, which brings neither `export` nor `training` nor `docs`."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "export").is_dir() else None


def in_checkout(thing: str) -> str:
    """A command or a page that only a checkout has, for a sentence; it says so where there is no checkout."""
    return thing if checkout() else f"{thing} {WHERE}"


def checkout_command(command: str) -> str:
    """The same for a command on a line of its own, to be copied."""
    return command if checkout() else f"{command}  # {WHERE}"


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of this package, Python and some other packages, for the manifest of what is made here and now."""
    import importlib.metadata  # here, as platform: every command imports this file, and few ask
    import platform

    others = {package: importlib.metadata.version(package) for package in packages}
    return {"mgts-trt": __version__, "python": platform.python_version(), **others}


def reinstall_command() -> str:
    """What mends files that are missing or altered, and leaves other packages alone."""
    root = checkout()
    what = f"--editable {root}" if root else f"mgts_trt-{__version__}-py3-none-any.whl"
    return f"pip install --force-reinstall --no-deps {what}"
