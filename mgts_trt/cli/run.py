"""How every command ends: by itself, with one sentence on what is wrong, or as the defect it is."""

import importlib.metadata
import re
import sys
from collections.abc import Callable

from mgts_trt.cli.console import err, out
from mgts_trt.cli.standard_streams import standard_streams
from mgts_trt.cli.terminal import styled
from mgts_trt.errors import MgtsError

DEBUG = "--debug"
QUIET = "--quiet"

_OWN = ("mgts_trt", "export", "training", "benchmarks", "tests")
_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "cuda": "cuda-bindings"}
"""Of modules that are called otherwise than the package that brings them."""

_EXTRAS = ("plot", "video", "gallery", "serve", "import", "export", "train", "ray", "rtx", "tensorrt")
"""Extras a user may be told of, the smaller before those that hold them."""


def run_app(app: Callable[[], object]) -> None:
    """Run a command-line app; expected errors become one paragraph and exit code 2, defects exit code 70.

    `--debug`, anywhere on the command line, shows the traceback instead; `--quiet` leaves out progress and notes.
    """
    debug, quiet = DEBUG in sys.argv, QUIET in sys.argv
    sys.argv = [argument for argument in sys.argv if argument not in (DEBUG, QUIET)]
    before, err.quiet = err.quiet, quiet
    try:
        with standard_streams() as flush:
            code = _run(app, flush, debug)
    finally:
        err.quiet, out.stderr = before, False
    if code:
        sys.exit(code)


def _run(app: Callable[[], object], flush: Callable[[], None], debug: bool) -> int:
    try:
        try:
            app()
        finally:
            flush()
    except Exception as error:
        if debug:
            raise
        message = str(error) if isinstance(error, MgtsError) else _missing_package(error)
        err.quiet = False
        if message is not None:
            err.print(styled(("Error:", "bold red"), f" {message}"))
            return 2
        err.print(
            styled(("Internal error:", "bold red"), f" {type(error).__name__}: {error}"),
            f"This is a defect of mgts-trt. Run the command again with {DEBUG} and report what it prints.",
            sep="\n",
        )
        return 70
    return 0


def _missing_package(error: Exception) -> str | None:
    """What to install, if the error is that a package of others is not there."""
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not module or module in _OWN:
        return None
    package = _DISTRIBUTIONS.get(module, module.replace("_", "-"))
    return f"This needs the package {package}, which is not installed. Install it: {_install_line(package)}"


def _install_line(package: str) -> str:
    """The command that brings a package: with the first extra that has it, or alone."""
    try:
        requirements = importlib.metadata.requires("mgts-trt") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    bringing = set()
    for requirement in requirements:
        name, _, condition = requirement.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", condition)
        if extra and re.split(r"[<>=!~\[ ]", name, maxsplit=1)[0].lower() == package.lower():
            bringing.add(extra[1])
    chosen = next((extra for extra in _EXTRAS if extra in bringing), None)
    return f"pip install 'mgts-trt[{chosen}]'" if chosen else f"pip install {package}"
