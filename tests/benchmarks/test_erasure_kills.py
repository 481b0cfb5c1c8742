import json
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("lancedb")


def test_a_sample_of_kills_leaves_nothing(tmp_path) -> None:
    """`python -m benchmarks.erasure_kills --runs 2000` tries every step."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.erasure_kills",
        "--seed",
        "21",
        "--runs",
        "6",
        "--json",
        "r.json",
    ]
    ran = subprocess.run(
        [*command[:-1], str(tmp_path / "r.json")], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["runs"], report["faults"]) == (6, {})
    assert sum(report["stopped"].values()) == 6
    assert {"intend forget", "delete people", "rewrite people", "verify", "end"} <= set(report["steps"]["forget"])
