"""The parser of boxes for DeepStream, compiled and called as nvinfer calls it, against the definition in Python."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.runtime.people import people_among
from tests.helpers.paths import ROOT

PARTS = ROOT / "tests" / "helpers" / "deepstream"
CANVAS = (480, 800)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("needs a C++ compiler, and there is none")
        pytest.skip("needs a C++ compiler")
    built = tmp_path_factory.mktemp("parser") / "parser.so"
    options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{PARTS}"]
    sources = [ROOT / "engines" / "deepstream" / "person_parser.cpp", PARTS / "drive_parser.cpp"]
    done = subprocess.run([compiler, *options, *map(str, sources), "-o", str(built)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(built))


def parse(
    library: ctypes.CDLL, boxes: np.ndarray, scores: np.ndarray, least: float, *, kind: int = 0, name: str = "scores"
) -> np.ndarray | None:
    """What the parser finds, [N, 5]; None where it refuses."""
    found = np.zeros((len(scores), 5), np.float32)
    floats = ctypes.POINTER(ctypes.c_float)
    boxes, scores = np.ascontiguousarray(boxes, np.float32), np.ascontiguousarray(scores, np.float32)
    count = library.parse(
        boxes.ctypes.data_as(floats), scores.ctypes.data_as(floats), len(scores), boxes.shape[1], kind, name.encode(),
        ctypes.c_float(least), CANVAS[1], CANVAS[0], found.ctypes.data_as(floats),
    )  # fmt: skip
    assert count >= -1
    return None if count < 0 else found[:count]


def test_people_are_those_of_the_definition(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(-40, 840, (500, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes[::7, 2] = boxes[::7, 0] + 0.5  # narrower than a pixel
    scores = np.sort(random.uniform(0, 1, 500).astype(np.float32))[::-1].copy()
    scores[400:] = 0
    inside = np.clip(boxes, 0, [CANVAS[1], CANVAS[0]] * 2).astype(np.float32)
    rows = people_among(inside, scores, 0.3, None)
    found = parse(library, boxes, scores, 0.3)
    assert 20 < len(rows) < 400
    expected = np.concatenate([inside[rows, :2], inside[rows, 2:] - inside[rows, :2], scores[rows, None]], 1)
    np.testing.assert_array_equal(found, expected)


def test_places_that_nobody_takes_and_what_is_no_number_are_nobody(library: ctypes.CDLL) -> None:
    boxes = np.tile(np.float32([10, 10, 50, 90]), (4, 1))
    boxes[1, 0], boxes[2] = np.nan, 0
    assert len(parse(library, boxes, np.float32([np.nan, 0.9, 0.9, 0]), 0.0)) <= 1
    assert len(parse(library, boxes, np.float32([0.9, 0, 0, 0]), 0.0)) == 1


@pytest.mark.parametrize("wrong", [{"kind": 1}, {"name": "confidence"}, {"columns": 5}])
def test_other_tensors_are_refused(library: ctypes.CDLL, wrong: dict, capfd: pytest.CaptureFixture) -> None:
    boxes = np.zeros((3, wrong.pop("columns", 4)), np.float32)
    assert parse(library, boxes, np.zeros(3, np.float32), 0.5, **wrong) is None
    assert "mgts-trt deepstream" in capfd.readouterr().err


def test_the_makefile_links_parser_and_plugins(library: ctypes.CDLL, tmp_path: Path) -> None:
    """As on an appliance, with a library that stands for the plugins': loading the parser loads it."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for file in (ROOT / "engines" / "deepstream").iterdir():
        if file.suffix != ".md":
            shutil.copy(file, tmp_path)
    headers = tmp_path / "sdk" / "sources" / "includes"
    headers.mkdir(parents=True)
    shutil.copy(PARTS / "nvdsinfer_custom_impl.h", headers)
    plugins = tmp_path / "plugins" / "libplugins.so"
    plugins.parent.mkdir()
    source = tmp_path / "plugins.cpp"
    source.write_text('extern "C" int plugins_are_here() { return 7; }\n')
    subprocess.run(["g++", "-shared", "-fPIC", str(source), "-o", str(plugins)], check=True)
    command = ["make", f"DEEPSTREAM={tmp_path / 'sdk'}", f"PLUGINS={plugins}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = ctypes.CDLL(str(tmp_path / "libmgts_deepstream.so"))
    assert built.NvDsInferParseMgtsPeople
    assert str(plugins) in Path("/proc/self/maps").read_text()
    without = subprocess.run(["make", "-B"], cwd=tmp_path, capture_output=True, text=True)
    assert without.returncode != 0
    assert "name the library of plugins" in without.stderr
