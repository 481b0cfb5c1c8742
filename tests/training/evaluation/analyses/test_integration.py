"""Table 3: the joint network beside detector and IDNet, on scenes whose answers are known."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the analyses need PyTorch")
from typer.testing import CliRunner

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import BundleError
from tests.helpers.cell_scenes import Listed, scene
from tests.helpers.tiny_bundle import SEPARATE, make_tiny_bundle
from training.__main__ import app
from training.evaluation.analyses.integration import (
    DESCRIBERS,
    DETECTORS,
    Integration,
    composed_people,
    evaluate_integration,
)

CELLS = [{(0, 1): 0, (1, 4): 1}, {(0, 1): 1, (1, 4): 2}, {(0, 1): 0, (1, 4): 2}]
"""Of an identity's places two are the same: the joint network's embeddings tell of the place, too."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"), models=MODELS)


def measured(bundle: Path, scenes: Listed) -> Integration:
    people = composed_people(scenes, on_step=lambda: None)
    return evaluate_integration(Bundle.open(bundle), people, begin=lambda what, steps: lambda: None)


def test_everybody_who_is_seen_is_found_and_told_apart(bundle: Path) -> None:
    found = measured(bundle, Listed([scene(f"{i}", cells, camera=i) for i, cells in enumerate(CELLS)]))
    assert found.detectors.keys() == DETECTORS.keys()
    assert found.describers.keys() == DESCRIBERS.keys()
    assert all(judged.summary()["AP"] == pytest.approx(1) for judged in found.detectors.values())
    assert found.describers["none"].mean_average_precision == pytest.approx(1)


def test_true_boxes_are_described_whoever_is_found(bundle: Path) -> None:
    """Of six people one is painted over: no detector can find them, and their box is searched for nevertheless."""
    seen = Listed([scene(f"{i}", cells, camera=i, hide=i == 0) for i, cells in enumerate(CELLS)])
    found = measured(bundle, seen)
    for judged in found.detectors.values():
        assert judged.summary()["recall"] == pytest.approx(5 / 6)
    for ranked in found.describers.values():
        assert ranked.counted == 3  # each identity is searched for once
        assert ranked.found.tolist() == ranked.ground_truths.tolist()


def test_both_halves_are_printed_beside_the_papers(bundle: Path, root: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["integration", bundle, "--root", root, "--scenes", 12, "--json", report]
    told = CliRunner().invoke(app, ["analyse", *map(str, arguments)], env={"COLUMNS": "200"})
    assert told.exception is None, told.output
    assert json.loads(report.read_text())["results"].keys() == {"composed"}
    results = json.loads(report.read_text())["results"]["composed"]
    assert results.keys() == {"detection, joint", "detection, detector", "re-ID, joint", "re-ID, none"}
    for title, paper in (("Table 3a", "69.5"), ("Table 3b", "77.9")):
        assert title in told.output
        assert paper in told.output
    for name in ("cuhk_sysu", "prw"):
        assert f"{name} is not there" in told.output


def test_a_bundle_without_the_joint_network(root: Path, tmp_path: Path) -> None:
    separate = make_tiny_bundle(tmp_path / "bundle", models=SEPARATE)
    arguments = ["analyse", "integration", str(separate), "--root", str(root)]
    with pytest.raises(BundleError, match="joint"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
