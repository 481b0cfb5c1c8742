"""`python -m training calibrate`, on sets made here."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import write_manifest
from mgts_trt.choices import Mode
from mgts_trt.evaluation.likeness import Likeness
from tests.helpers.crop_sets import every_set, save_crop_set
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.training_scenes import save
from training.__main__ import app
from training.data.datasets.splits import MARKET_HELD_OUT
from training.evaluation.calibrate import MASKED, held_out_crops, sets_of_mode

CROPS = {"market1501": MARKET_HELD_OUT, "cuhk03": 4, "cuhk01": 4, "iitd_col780": 4, "prid": 4, "grid": 4, "viper": 14}
"""Of seven people with two crops each, numbers 0 and 6; of VIPeR all."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Market-1501 with everybody once, by two cameras in turn; the other sets with everybody twice."""
    folder = tmp_path_factory.mktemp("data")
    for identity in range(1, MARKET_HELD_OUT + 2):
        name = f"{identity:04d}"
        save(folder / f"market1501/images/{name}/{name}_c{1 + identity % 2}s1_000001_01.jpg", 24, 12)
    save_crop_set(folder / "reid_mix", every_set())
    random = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.jpg")):  # noise alone looks alike everywhere
        save(path, 0, 0, random.integers(0, 255, (3, 2, 3), np.uint8).repeat(8, axis=0).repeat(6, axis=1))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle", models=("detector", "mgts", "idnet"))


def test_whom_it_compares(root: Path) -> None:
    sets = held_out_crops(root)
    assert {name: len(scenes) for name, scenes in sets.items()} == CROPS
    modes: tuple[Mode, ...] = ("none", "net", "box", "joint")
    assert {mode: len(list(sets_of_mode(sets, mode))) for mode in modes} == {"none": 7, "net": 1, "box": 7, "joint": 7}
    assert [name for name, _ in sets_of_mode(sets, "net")] == [MASKED]


def test_a_bundle_is_calibrated_in_its_modes(root: Path, bundle: Path) -> None:
    before = Bundle.open(bundle).manifest
    (bundle / SIGNATURE).write_text("{}")
    result = CliRunner().invoke(app, ["calibrate", str(bundle), "--root", str(root)], catch_exceptions=False)
    assert result.exit_code == 0
    opened = Bundle.open(bundle)
    assert list(opened.manifest.likeness) == ["none", "box"]
    assert opened.manifest.model_copy(update={"likeness": {}}) == before
    assert not (bundle / SIGNATURE).exists(), "it was of another manifest"
    for mode in ("none", "box"):
        likeness = Likeness.of(opened, mode)
        assert likeness is not None
        # Market-1501: half of them by each camera. Others: one person by camera 1, another by camera 2.
        assert likeness.pairs == 75 * 75 + 5 * 2 + 7 * 6
        assert likeness.people == 150 + 5 * 2 + 7
        assert likeness.sets == ", ".join(CROPS)
        assert likeness.cosine(1e-2) > likeness.cosine(1e-1)


def test_it_is_calibrated_again(root: Path, bundle: Path) -> None:
    command = ["calibrate", str(bundle), "--root", str(root)]
    CliRunner().invoke(app, command, catch_exceptions=False)
    once = Bundle.open(bundle).manifest
    entry = once.likeness["box"]
    write_manifest(
        bundle, once.model_copy(update={"likeness": {"box": entry.model_copy(update={"network": "0" * 64})}})
    )
    assert Likeness.of(Bundle.open(bundle), "box") is None
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert Bundle.open(bundle).manifest == once
