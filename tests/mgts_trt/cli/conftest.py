import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.goldens import add_golden
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    add_golden(root)
    return root


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    image = np.full((128, 192, 3), 90, np.uint8)
    image[:64, 32:64] = 255
    path = tmp_path_factory.mktemp("photo") / "one.png"
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process; returns (exit code, standard output, standard error)."""

    def _run(*arguments: object) -> tuple[int, str, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", *(str(argument) for argument in arguments)])
        monkeypatch.delenv("MGTS_BUNDLE", raising=False)
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, " ".join(captured.err.split())

    return _run
