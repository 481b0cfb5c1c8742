"""`python -m training label`, by a teacher that sees the same in every picture."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from mgts_trt.errors import MgtsError
from tests.helpers.training_scenes import save
from training.__main__ import app
from training.data.datasets.boxes_json import boxes_json
from training.data.files import DataError

SIDE = 64


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees a person in the middle of every canvas, 16 wide and 32 high."""
    places = np.zeros((1, 84, 85), np.float32)
    places[0, 4 * 8 + 4, [2, 3, 4, 5]] = np.log(2), np.log(4), 0.9, 1  # of stride 8, centred at (32, 32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["places", "nothing"], ["output"]),
        ],
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 84, 85])],
        [numpy_helper.from_array(places, "places"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    path = tmp_path_factory.mktemp("teacher") / "toy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in "abc":
        save(tmp_path / "images" / f"{name}.jpg", 128, 128)
    return tmp_path


def label(photos: Path, teacher: Path, *options: object, out: Path | None = None) -> Result:
    out = out or photos / "boxes.json"
    arguments = ["label", photos / "images", "--teacher", teacher, "--out", out, *options]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("options", [(), ("--tiles",)])
def test_every_picture_is_labelled(photos: Path, teacher: Path, options: tuple[str, ...]) -> None:
    (photos / "images/d.jpg").write_bytes((photos / "images/a.jpg").read_bytes()[:300])
    result = label(photos, teacher, *options)
    assert result.exit_code == 0
    assert "3 pictures, 0 of them of nobody" in " ".join(result.output.split())
    scenes = boxes_json(photos)
    assert scenes.names == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    np.testing.assert_allclose(scenes[0].boxes[0], (48, 32, 80, 96), atol=0.5)


def test_it_goes_on_where_it_was(photos: Path, teacher: Path) -> None:
    mine = {"file": "images/b.jpg", "persons": [{"bbox": [1, 2, 3, 4]}]}
    (photos / "boxes.json").write_text(json.dumps([mine]))
    label(photos, teacher)
    entries = json.loads((photos / "boxes.json").read_text())
    assert [entry["file"] for entry in entries] == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert entries[1] == mine


def test_a_higher_threshold_leaves_doubt(photos: Path, teacher: Path) -> None:
    label(photos, teacher, "--sure", 0.95)
    entry = json.loads((photos / "boxes.json").read_text())[0]
    assert (len(entry["persons"]), len(entry["ignore"])) == (0, 1)


def test_labels_by_hand_are_kept(photos: Path, teacher: Path) -> None:
    by_hand = [
        {"file": "images/a.jpg", "persons": [{"bbox": [50, 30, 30, 66], "id": 7}]},
        {"file": "images/b.jpg", "persons": [{"bbox": [1, 2, 30, 40]}], "ignore": [[100, 100, 9, 9]]},
        {"file": "images/c.jpg", "persons": []},
    ]
    keep = photos / "by_hand" / "boxes.json"
    keep.parent.mkdir()
    (keep.parent / "images").symlink_to(photos / "images")
    keep.write_text(json.dumps(by_hand))
    label(photos, teacher, "--keep", keep)
    entries = json.loads((photos / "boxes.json").read_text())
    assert [entry["persons"] for entry in entries] == [entry["persons"] for entry in by_hand]
    assert [len(entry.get("ignore", [])) for entry in entries] == [0, 2, 1]
    keep.write_text(json.dumps(by_hand[:2]))
    (photos / "boxes.json").unlink()
    with pytest.raises(DataError, match=r"does not list images/c\.jpg"):
        label(photos, teacher, "--keep", keep)


def test_a_set_of_linked_pictures_is_labelled_where_the_link_is(photos: Path, teacher: Path) -> None:
    again = photos / "again"
    again.mkdir()
    (again / "images").symlink_to(photos / "images")
    label(again, teacher)
    assert boxes_json(again).names == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert not (photos / "boxes.json").exists()


def test_labels_stand_above_their_pictures(photos: Path, teacher: Path) -> None:
    with pytest.raises(MgtsError, match="is not above"):
        label(photos, teacher, out=photos / "elsewhere" / "boxes.json")
