"""No package that mgts-trt brings tells others what is done with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

SAYS = "import os, mgts_trt, onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def said(home: Path, **more: str) -> str:
    # In CI and in unit tests, which it tells by other variables, ONNX Runtime is silent by itself.
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_onnx_runtime_keeps_no_number_of_this_machine_and_tells_nobody(tmp_path: Path) -> None:
    assert said(tmp_path) == "1"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("chosen", ["1", "true"])
def test_what_the_environment_says_holds(chosen: str, tmp_path: Path) -> None:
    assert said(tmp_path, ORT_DISABLE_TELEMETRY=chosen) == chosen
