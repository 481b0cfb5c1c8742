import json
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("lancedb")


def test_a_sample_of_kills_leaves_nothing(tmp_path) -> None:
    """`python -m benchmarks.erasure_kills --runs 2000` tries every step."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.erasure_kills", "--runs", "6", "--json", str(report)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(report.read_text())
    assert (told["runs"], told["faults"]) == (6, {})
    assert sum(told["stopped"].values()) > 0  # a moment by chance may come too late
    assert {"intend forget", "delete people", "rewrite people", "verify", "end"} <= set(told["steps"]["forget"])
