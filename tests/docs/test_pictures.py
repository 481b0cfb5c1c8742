"""The documents' pictures are what their command makes."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.pictures.image import read_image
from tests.helpers.browser import find_browser
from tests.helpers.paths import ROOT

COMMITTED = ROOT / "docs/pictures"


@pytest.mark.slow
def test_they_are_made_anew_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="the page's gallery")
    pytest.importorskip("fastapi", reason="the page's service")
    command = [sys.executable, "-m", "docs.pictures.make", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    browser = bool(find_spec("playwright") and find_browser())
    assert ("Not page.jpg" in done.stdout) is not browser
    assert {path.name for path in tmp_path.iterdir()} == {"search.jpg", "demo.jpg", *["page.jpg"] * browser}
    for path in tmp_path.iterdir():
        made, shown = read_image(path).astype(int), read_image(COMMITTED / path.name).astype(int)
        assert made.shape == shown.shape, path.name
        # Another OpenCV or browser has other letters; another ranking or other boxes would move whole pictures.
        assert np.abs(made - shown).mean() < 6, f"{path.name} is not what is committed: run `make pictures`, and look"


def test_every_picture_is_made_by_it_and_shown() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    shown = {Path(at).name for page in pages for at in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8"))}
    there = {path.name for path in COMMITTED.iterdir() if path.suffix in (".jpg", ".png", ".svg")}
    script = (COMMITTED / "make.py").read_text("utf-8")
    made = set(re.findall(r'out / "(\w+\.\w+)"\)', script))
    assert made == there == shown
