import json
import subprocess
import sys
import time

import pytest

from benchmarks.erasure.actions import ACTIONS, Films, fill
from benchmarks.erasure.faults import Fault
from benchmarks.erasure_kills import Run, look
from mgts_trt.gallery import Gallery
from tests.helpers.paths import ROOT

pytest.importorskip("lancedb")
RUNS = 200


def test_a_sample_of_kills_leaves_nothing(tmp_path) -> None:
    """`python -m benchmarks.erasure_kills --runs 2000` tries every step."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.erasure_kills", "--runs", str(RUNS)]
    ran = subprocess.run([*command, "--json", report], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(report.read_text())
    assert (told["runs"], told["failures"]) == (RUNS, {})
    assert told["stopped"]["killed"] > RUNS // 2
    assert set(told["steps"]) == set(ACTIONS)
    for action in ("forget", "expire", "sync"):
        erasing = {"put the intent in place", "delete people", "rewrite people", "verify", "remove people/data", "end"}
        assert erasing <= set(told["steps"][action])


@pytest.mark.parametrize(
    ("condition", "wrong"), [("number >= 0", "not repeated, .* holds"), ("number >= 3", "half of it is left")]
)
def test_what_is_left_is_told(tmp_path, condition, wrong) -> None:
    films, root = Films.below(tmp_path, time.time()), tmp_path / "gallery"
    fill(root, films, ACTIONS["forget"])
    with Gallery.open(root) as gallery:
        gallery.tables[0].delete(f"source = '{films.forgotten.source}' AND {condition}")  # and leaves the bytes
    with pytest.raises(AssertionError, match=wrong):
        look(Run("forget", Fault("killed", 0)), root, films, tmp_path / "told")


def test_people_that_are_there_twice_are_told(tmp_path) -> None:
    films, root = Films.below(tmp_path, time.time()), tmp_path / "gallery"
    fill(root, films, ACTIONS["forget"])
    with Gallery.open(root) as gallery:
        people = gallery.tables[0]
        people.add(people.search().where(f"source = '{films.kept.source}'").limit(1).to_arrow())
    with pytest.raises(AssertionError, match="other people"):
        look(Run("forget", Fault("killed", 0)), root, films, tmp_path / "told")
