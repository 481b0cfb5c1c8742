"""`make bounds`: whether the versions that pyproject.toml allows work, on every Python that it names.

For each Python, one environment with the lowest versions that the requirements allow and one with the newest; in each,
the quick tests of the product. It needs uv, and a network.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.paths import ROOT

RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
"""By our word for it, uv's; `lowest-direct` leaves what the requirements require themselves at their newest."""

TESTS = ("tests/mgts_trt", "--no-torch", "-m", "not slow", "-q", "-p", "no:cacheprovider")


def claimed(text: str) -> list[str]:
    """The Pythons that the classifiers of a pyproject.toml name."""
    classifiers = tomllib.loads(text)["project"]["classifiers"]
    return [
        found[1] for line in classifiers if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]


def summary(said: str) -> str:
    """Pytest's count of what passed, failed and was skipped, out of all that it said; empty if there is none."""
    counts = re.findall(r"^=* ?(\d+ (?:passed|failed|skipped|error).*) in [\d.]+s", said, re.MULTILINE)
    return counts[-1] if counts else ""


def attempt(
    python: str, resolution: str, extras: Sequence[str], tests: Sequence[str], folder: Path
) -> tuple[bool, str]:
    """Install and test in a new environment.

    Args:
        python: A version, as `3.12`.
        resolution: Of `RESOLUTIONS`.
        extras: Of pyproject.toml, beside what every install brings.
        tests: What pytest is told.
        folder: For the environment; it must not be there.

    Returns:
        Whether all is well, and how it went in a few words.
    """
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    inside = str(folder / "bin" / "python")
    chosen = [word for extra in extras for word in ("--extra", extra)]
    install = ["pip", "install", "--python", inside, "--resolution", RESOLUTIONS[resolution], "-r", "pyproject.toml"]
    for command in (["venv", "--python", python, str(folder)], [*install, *chosen]):
        done = _run([uv, *command])
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            return False, "cannot be installed: see above"
    done = _run([inside, "-m", "pytest", *tests])
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.returncode == 0, summary(done.stdout) or f"pytest ended with {done.returncode}: see above"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def main() -> None:
    """Try all, a line each; exit with 1 if one fails."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    parser = argparse.ArgumentParser(prog="python -m tests.helpers.bounds", description=__doc__)
    parser.add_argument("--python", action="append", help="a version; by default all that pyproject.toml names")
    parser.add_argument("--extra", action="append", help="an extra to install; by default `check`")
    parser.add_argument(
        "tests", nargs="*", default=TESTS, help="for pytest, behind `--`; by default the product's quick tests"
    )
    options = parser.parse_args()

    print(f"{'Python':8}{'versions':10}{'minutes':9}result", flush=True)
    failed = False
    for python in options.python or claimed(project):
        for resolution in RESOLUTIONS:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="bounds-") as folder:
                well, told = attempt(
                    python, resolution, options.extra or ["check"], options.tests, Path(folder) / "environment"
                )
            failed |= not well
            minutes = (time.monotonic() - begun) / 60
            print(f"{python:8}{resolution:10}{minutes:<9.1f}{'ok' if well else 'FAILED'}: {told}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
