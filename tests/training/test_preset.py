from pathlib import Path

import pytest

from mgts_trt.errors import MgtsError
from training.preset import FOLDER, PresetError, load_preset

EDGE = (FOLDER / "edge.toml").read_text(encoding="utf-8")
ZOOM = "zoom = [0.6, 2.2]"


def test_paper_has_the_constants_of_the_paper() -> None:
    preset = load_preset("paper")
    assert preset.name == "paper"
    assert (preset.canvas, preset.patch, preset.gamma, preset.embedding) == ((900, 1500), (256, 128), 1.3, 128)
    assert (preset.detector.final_nms, preset.detector.rpn.nms, preset.detector.roi_size) == (0.45, 0.7, 7)
    assert preset.detector.backbone.widths[-1] == preset.detector.rpn.channels == 512
    assert preset.detector.rpn.anchors_per_cell == 15


def test_edge_shares_what_is_not_size() -> None:
    edge, paper = load_preset("edge"), load_preset("paper")
    assert edge.name == "edge"
    for field in ("embedding", "normalisation"):
        assert getattr(edge, field) == getattr(paper, field)
    assert (edge.thresholds.instance, edge.thresholds.mask) == (paper.thresholds.instance, paper.thresholds.mask)
    assert (edge.thresholds.detection, paper.thresholds.detection) == (
        0.7,
        0.5,
    )  # edge's is measured on held-out photos
    assert (edge.detector.final_nms, edge.masknet.final_nms) == (paper.detector.final_nms, paper.masknet.final_nms)


def test_pad_is_the_mean_colour() -> None:
    assert load_preset("paper").pad == (124, 116, 104)


def test_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EDGE.replace('"edge"', '"mine"'), encoding="utf-8")
    preset = load_preset(str(file))
    assert preset.name == "mine"
    assert preset.reid == load_preset("edge").reid


def test_own_file_chooses_how_pictures_are_altered(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EDGE.replace(ZOOM, "zoom = [1, 3]") + "\n[augmentation.patches]\nerased = 0\n", "utf-8")
    chosen, usual = load_preset(str(file)).augmentation, load_preset("edge").augmentation
    assert chosen.scenes == usual.scenes.model_copy(update={"zoom": (1.0, 3.0)})
    assert chosen.patches == usual.patches.model_copy(update={"erased": 0.0})


def test_preset_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_preset("edge").gamma = 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gamma = ", "malformed"),
        ("", "canvas"),
        (EDGE + "\ndropout = 0.5\n", "dropout"),
        (EDGE.replace("gamma = 1.0", 'gamma = "wide"'), "gamma"),
        (EDGE.replace("canvas = [480, 800]", "canvas = [480]"), "canvas"),
        (EDGE.replace('weights = "float16"', 'weights = "float8"'), "weights"),
        (EDGE.replace("[1, 2, 2, 3, 3, 2],", "[1, 2, 2, 3],"), "5 to 7 numbers"),
        (EDGE.replace("[1, 2, 2, 3, 3, 2],", "[1, 2, 3, 3, 3],"), r"that of \[1, 2, 2, 3, 3, 4, 1\]"),
        (EDGE.replace("[1, 2, 2, 3, 3, 2], head = 96", "[1, 2, 2, 3, 3], head = 96"), "joined needs a head"),
        (EDGE.replace("head = 96, joined", "joined"), "joined needs a head"),
        (EDGE.replace("3, 2] }", "3, 2], head = 96, joined = true }"), "mask net reads conv4 and conv5 apart"),
        (EDGE.replace("canvas = [480, 800]", "canvas = [480, 816]"), r"multiples of 32 .* got \[480, 816\]"),
        (EDGE.replace('"efficientnet-lite0"', '"alexnet"'), "'vgg', 'resnet', 'efficientnet-lite0'"),
        (EDGE.replace("mask_size = 21", "mask_size = 20"), "multiple of bins = 7, got 20"),
        (EDGE.replace(ZOOM, "zoom = [2, 1]"), r"0 < low ≤ high, got \[2.0, 1.0\]"),
        (EDGE.replace(ZOOM, "zoom = [0, 1]"), r"0 < low ≤ high, got \[0.0, 1.0\]"),
        (EDGE.replace("mosaic = 0.2", "mosaic = 1.2"), "mosaic"),
        (EDGE + "\n[augmentation.patches]\nerased = 2\n", "erased"),
        (EDGE + "\n[augmentation.patches]\nbox_jitter = 0.5\n", "box_jitter"),
    ],
)
def test_malformed(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PresetError, match=says) as caught:
        load_preset(str(file))
    assert "bad.toml" in str(caught.value)


def test_not_text(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(b"\xff\xfe\x00gamma")
    with pytest.raises(PresetError, match="malformed"):
        load_preset(str(file))


@pytest.mark.parametrize("name", ["papre", "missing.toml"])
def test_missing_names_those_there_are(name: str) -> None:
    with pytest.raises(PresetError, match=rf"{name}.*edge, paper") as caught:
        load_preset(name)
    assert isinstance(caught.value, MgtsError)
