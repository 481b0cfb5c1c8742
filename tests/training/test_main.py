"""`python -m training`, on small datasets made here."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.paths import TINY

pytest.importorskip("torch", reason="training needs PyTorch")
import torch
from typer.testing import CliRunner, Result

from mgts_trt.errors import MgtsError
from tests.helpers.crop_sets import every_set, save_crop_set
from tests.helpers.small_graphs import node, save_graph
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.__main__ import app
from training.checkpoint import load_checkpoint
from training.data.backgrounds import _STREETS
from training.data.datasets.masked import masked_train
from training.data.datasets.mix import Order
from training.data.datasets.splits import MARKET_HELD_OUT, REAL_SETS, real_train
from training.data.files import DataError
from training.data.scene import Scene, Scenes
from training.loop import TrainingError
from training.models import create
from training.options import Data, Evaluated, load_held_out, load_scenes
from training.preset import Preset, load_preset
from training.schedule import ScheduleError
from training.tasks.reid import ReidTaskError


@pytest.fixture(scope="module")
def penn_fudan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("penn_fudan"), np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for i in range(6):
        mask = np.zeros((90, 150), np.uint8)
        mask[20:80, 20:45] = 1
        mask[15:85, 90:120] = 2
        picture = rng.integers(0, 90, (90, 150, 3)).astype(np.uint8)
        picture[mask > 0] += 120
        cv2.imwrite(str(root / "images" / f"{i}.jpg"), picture)
        cv2.imwrite(str(root / "masks" / f"{i}.png"), mask)
    return root


@pytest.fixture(scope="module")
def market1501(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("market1501"), np.random.default_rng(0)
    for identity in range(1, MARKET_HELD_OUT + 4):
        folder = root / "images" / f"{identity:04d}"
        folder.mkdir(parents=True)
        for camera in (1, 2):
            picture = rng.integers(0, 255, (32, 16, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{identity:04d}_c{camera}s1_000001_01.jpg"), picture)
    return root


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(
        app, [str(argument) for argument in (*arguments, "--preset", str(TINY), "--device", "cpu")]
    )
    if isinstance(result.exception, MgtsError):
        raise result.exception
    return result


@pytest.mark.parametrize("part", ["detector", "masknet"])
def test_trains_on_scenes(tiny: Preset, penn_fudan: Path, tmp_path: Path, part: str) -> None:
    run = (part, "--data", "penn_fudan", "--root", penn_fudan, "--out", tmp_path, "--iterations", 3, "--batch-size", 2)
    result = invoke(*run)
    assert result.exit_code == 0, result.output
    load_checkpoint(tmp_path / f"{part}.safetensors", create(part, tiny), model=part, preset="tiny")
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_trains_rounded_as_int8_is(tiny: Preset, penn_fudan: Path, tmp_path: Path) -> None:
    run = ("masknet", "--data", "penn_fudan", "--root", penn_fudan, "--iterations", 2, "--batch-size", 2)
    weights = {}
    for how in ((), ("--int8",)):
        out = tmp_path / str(len(how))
        assert invoke(*run, "--out", out, *how).exit_code == 0
        network = create("masknet", tiny, seed=1)
        load_checkpoint(out / "masknet.safetensors", network, model="masknet", preset="tiny")
        weights[how] = torch.cat([value.flatten().float() for value in network.state_dict().values()])
    assert not torch.equal(*weights.values())
    with pytest.raises(TrainingError, match="int8 True there, None now"):
        invoke(*run, "--out", tmp_path / "1")


@pytest.mark.parametrize("model", ["mgts", "idnet"])
def test_trains_re_id(tiny: Preset, market1501: Path, tmp_path: Path, model: str) -> None:
    run = ("reid", "--model", model, "--data", "market1501", "--root", market1501, "--out", tmp_path)
    run = (*run, "--schedule", "paper", "--batch-size", 2, *(("--mode", "box") if model == "mgts" else ()))
    result = invoke(*run, "--iterations", 4)
    assert result.exit_code == 0, result.output
    load_checkpoint(tmp_path / f"{model}.safetensors", create(model, tiny), model=model, preset="tiny")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["modules"]["oim.lookup"].shape == (3, tiny.embedding)
    with pytest.raises(TrainingError, match="seed 0 there, 1 now"):
        invoke(*run, "--iterations", 4, "--seed", 1)
    assert invoke(*run, "--iterations", 4, "--seed", 1, "--fresh").exit_code == 0
    # The paper's schedule: 15 epochs of three batches of two, for six crops.
    assert invoke(*run, "--fresh").exit_code == 0
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 15 * 3


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("detector", "--data", "prw", "--root", "gone"), DataError, "gone"),
        (("reid", "--data", "penn_fudan"), ReidTaskError, "no person with an identity"),
        (("detector", "--data", "penn_fudan", "--schedule", "slow"), ScheduleError, "no schedule 'slow'"),
        (("detector", "--data", "penn_fudan", "--device", "tpu9"), MgtsError, "cannot use the device 'tpu9'"),
    ],
)
def test_what_cannot_be_is_said(
    penn_fudan: Path, tmp_path: Path, options: tuple[str, ...], error: type[MgtsError], says: str
) -> None:
    given = () if "--root" in options else ("--root", str(penn_fudan))
    arguments = [*options, *given, "--preset", str(TINY), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, error)
    assert says in str(result.exception)


def test_help_names_the_parts() -> None:
    for arguments, words in (
        (["--help"], ("detector", "masknet", "reid", "evaluate")),
        (["masknet", "--help"], ("--backbone", "--fresh")),
    ):
        output = CliRunner().invoke(app, arguments).output
        assert all(word in output for word in words)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def test_evaluate_measures(bundle: Path, penn_fudan: Path, market1501: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    results = {}
    for data, root, *options in (
        ("penn_fudan", penn_fudan),
        ("market1501", market1501, "--mode", "box,none"),
    ):
        arguments = ["evaluate", bundle, "--data", data, "--root", root, *options, "--json", report]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.exception
        results |= json.loads(report.read_text())["results"]
    assert results.keys() == {"detector", "masks", "re-ID, none", "re-ID, box"}
    assert all(0 <= results["re-ID, none"][name] <= 1 for name in ("mAP", "top-1", "top-5", "top-10"))


def test_evaluate_puts_a_peer_beside_crops(bundle: Path, market1501: Path, tmp_path: Path) -> None:
    mean = node("ReduceMean", "crops axes", "y", keepdims=0)
    axes = {"axes": np.array([2, 3], np.int64)}
    peer = save_graph(tmp_path / "colour.onnx", [mean], {"crops": ["N", 3, 16, 8]}, axes)
    mix, report = save_crop_set(tmp_path / "mix", every_set()), tmp_path / "report.json"
    for data, root in (("reid_mix", mix), ("market1501", market1501)):
        mode = "net" if data == "reid_mix" else "box"
        arguments = ["evaluate", bundle, "--data", data, "--root", root, "--mode", mode, "--peer", peer]
        result = CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--json", report)])
        assert result.exit_code == 0, result.exception
        results = json.loads(report.read_text())["results"]
        if data == "reid_mix":
            names = ("cuhk03", "cuhk01", "iitd_col780", "prid", "grid", "viper")
            assert results.keys() == {f"{name}, {what}" for name in names for what in ("box", "colour")}
        else:
            assert results.keys() == {"re-ID, box", "market1501, colour"}
        assert all(0 <= numbers["top-1"] <= 1 for numbers in results.values())


def test_crops_of_several_sets_train(tiny: Preset, market1501: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    save_crop_set(root / "reid_mix", [*every_set(), ("market_train_extra", "market_0001", 4)])
    (root / "market1501").symlink_to(market1501)
    run = ("reid", "--model", "idnet", "--data", "market1501+reid_mix", "--root", root, "--out", tmp_path / "run")
    run = (*run, "--order", "identities", "--triplet", 1, "--unlabelled", 0, "--settle", "--schedule", "edge")
    run = (*run, "--batch-size", 8)
    assert invoke(*run, "--iterations", 101).exit_code == 0
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["modules"]["oim.lookup"].shape == (3 + 5 * 5, tiny.embedding)
    assert (tmp_path / "run" / "log.csv").read_text().splitlines()[0].split(",")[2:5] == ["loss", "oim", "triplet"]


def test_evaluate_on_one_camera_looks_for_people_and_searches_nobody(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for frame in (1, 2):
        cv2.imwrite(str(tmp_path / f"images/{frame:06d}.jpg"), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "gt.txt").write_text("1,1,10,10,20,40,-1\n2,1,15,10,20,40,-1\n")
    arguments = ["evaluate", bundle, "--data", "tud_campus", "--root", tmp_path, "--json", tmp_path / "report.json"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.exception
    assert json.loads((tmp_path / "report.json").read_text())["results"].keys() == {"detector"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--mode", "mask"), "no mode 'mask'"),
        (("--data", "composed"), "images"),
        (("--data", "penn_fudan", "--peer", "x.onnx"), "--peer is compared on crops of people, not on penn_fudan"),
        (("--peer", "gone.onnx"), "gone.onnx cannot be opened"),
        (("--data", "prw"), "ID_test2.mat is missing"),
    ],
)
def test_evaluate_refuses_what_it_does_not_know(
    bundle: Path, market1501: Path, options: tuple[str, ...], says: str
) -> None:
    arguments = ["evaluate", str(bundle), "--data", "market1501", "--root", str(market1501), *options]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, MgtsError)
    assert says in str(result.exception)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, market1501: Path, penn_fudan: Path) -> Path:
    """Seven pictures of every set of real scenes, and what composed scenes are made of."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "market1501").symlink_to(market1501)
    (root / "penn_fudan").symlink_to(penn_fudan)
    for street in _STREETS:
        (root / street).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / street), rng.integers(0, 255, (90, 150, 3)).astype(np.uint8))
    for name in REAL_SETS:
        (root / name / "images").mkdir(parents=True)
        entries = []
        for i in range(7):
            file = f"images/{name}_{i}.jpg"
            cv2.imwrite(str(root / name / file), rng.integers(0, 255, (90, 150, 3)).astype(np.uint8))
            people = [] if name == "negatives" else [{"bbox": [20, 15, 30, 60]}]
            entries.append({"file": file, "persons": people, "ignore": [[90, 5, 40, 70]], "masks_complete": False})
            if name == "negatives":
                del entries[-1]["ignore"]
        (root / name / ("coco_mini.json" if name == "coco_mini" else "boxes.json")).write_text(json.dumps(entries))
    return root


def kind(scene: Scene) -> str:
    if not scene.name.startswith("images/"):
        return "further" if scene.name.startswith("further") else "composed"
    return "nobody" if "negatives" in scene.name else "people"


def kinds(task: Order, scenes: Scenes, places: range) -> dict[str, int]:
    return Counter(kind(scenes[task(place)]) for place in places)


def test_every_batch_of_real_scenes_is_balanced(real: Path) -> None:
    scenes = load_scenes(Data.REAL, real, length=1, seed=0)
    order = Order.of(scenes, 0)
    for batch in range(10):
        assert kinds(order, scenes, range(4 * batch, 4 * batch + 4)) == {"people": 2, "nobody": 1, "composed": 1}
    photos = [scene.name for scene in map(real_train(real).__getitem__, range(len(real_train(real))))]
    shown = [scenes[index] for index in range(len(scenes))]
    assert sorted(scene.name for scene in shown if kind(scene) != "composed") == sorted(photos)
    assert len(shown) == 2 * len(photos)


@pytest.fixture(scope="module")
def masked(real: Path) -> Path:
    """The same, and seven people with a mask each."""
    y, x = np.mgrid[:90, :60]
    person = 255 * (((y - 45) / 38) ** 2 + ((x - 30) / 14) ** 2 < 1).astype(np.uint8)
    for i in range(7):
        for folder, suffix, pixels in (
            ("images", "jpg", np.full((90, 60, 3), 128, np.uint8)),
            ("masks", "png", person),
        ):
            (real / "ccp_person_masks" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(real / "ccp_person_masks" / folder / f"person_{i}.{suffix}"), pixels)
    return real


def test_masks_are_half_photos(masked: Path) -> None:
    scenes = load_scenes(Data.MASKS, masked, length=1, seed=0)
    photos = masked_train(masked)
    names = [scenes[index].name for index in range(len(scenes))]
    assert len(names) == 6 * len(photos)
    assert all(names.count(photos[index].name) == 3 for index in range(len(photos)))


def test_masks_are_evaluated_on_the_held_out(masked: Path) -> None:
    held_out = load_held_out(Evaluated.CCP_PERSON_MASKS, masked / "ccp_person_masks", length=1)
    assert [held_out[index].name for index in range(len(held_out))] == ["person_0.jpg", "person_6.jpg"]


def test_trains_on_masks(masked: Path, tmp_path: Path) -> None:
    run = ("masknet", "--data", "masks", "--root", masked, "--out", tmp_path, "--schedule", "real", "--iterations", 3)
    assert invoke(*run, "--batch-size", 2).exit_code == 0
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_the_joint_network_sees_mostly_composed_scenes_and_photos_too(real: Path, tmp_path: Path) -> None:
    scenes = load_scenes(Data.JOINT, real, length=20, seed=0)
    order = Order.of(scenes, 0)
    for batch in range(5):
        assert kinds(order, scenes, range(8 * batch, 8 * batch + 8)) == {"composed": 6, "people": 1, "nobody": 1}
    run = ("joint", "--data", "joint", "--root", real, "--out", tmp_path, "--iterations", 2, "--scenes", 20)
    result = invoke(*run, "--batch-size", 2)
    assert result.exit_code == 0, result.output
    network = create("joint", load_preset(str(TINY)))
    load_checkpoint(tmp_path / "joint.safetensors", network, model="joint", preset="tiny")


def test_further_photos_are_an_eighth(real: Path, tmp_path: Path) -> None:
    entries = [
        {"file": "further.jpg", "persons": [{"bbox": [9, 9, 20, 50]}]},
        {"file": "further_negatives.jpg", "persons": [], "ignore": [[9, 9, 20, 50]]},
    ]
    for entry in entries:
        cv2.imwrite(str(tmp_path / entry["file"]), np.zeros((90, 150, 3), np.uint8))
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    scenes = load_scenes(Data.REAL, real, length=1, seed=0, also=[tmp_path])
    order = Order.of(scenes, 0)
    shown = [scenes[order(place)].name for place in range(8 * 6)]
    assert shown.count("further.jpg") == 6
    assert shown.count("further_negatives.jpg") == 2, "one of six that show nobody, of whom twelve are shown"
    run = ("detector", "--data", "real", "--root", real, "--out", tmp_path / "run", "--schedule", "real")
    assert invoke(*run, "--also", tmp_path, "--iterations", 3, "--batch-size", 2).exit_code == 0
    with pytest.raises(MgtsError, match="--also belongs to --data real"):
        load_scenes(Data.COMPOSED, real, length=1, seed=0, also=[tmp_path])


def test_hard_pictures_of_nobody_are_shown_more_often(real: Path, tmp_path: Path) -> None:
    hard = tmp_path / "hard.csv"
    hard.write_text("file,people,score\nnegatives/images/negatives_2.jpg,2,0.9\n")
    scenes = load_scenes(Data.REAL, real, length=1, seed=0, hard=hard)
    order = Order.of(scenes, 0)
    # Five photos, one of them three times, are seven; of each eight scenes two are of nobody.
    shown = Counter(scenes[order(place)].name for place in range(4 * 7))
    assert {name: count for name, count in shown.items() if "negatives" in name} == {
        f"images/negatives_{number}.jpg": 3 if number == 2 else 1 for number in range(1, 6)
    }
    run = ("detector", "--data", "real", "--root", real, "--out", tmp_path / "run", "--batch-size", 2)
    run = (*run, "--schedule", "real", "--iterations", 1, "--hard", hard)
    assert invoke(*run).exit_code == 0
    hard.write_text("file,people,score\nnegatives/images/negatives_3.jpg,2,0.9\n")
    with pytest.raises(TrainingError, match=r"hard '.*' there"):
        invoke(*run)
    with pytest.raises(MgtsError, match="--hard belongs to --data real"):
        load_scenes(Data.COMPOSED, real, length=1, seed=0, hard=hard)


def test_trains_on_real_scenes(real: Path, tmp_path: Path) -> None:
    run = ("detector", "--data", "real", "--root", real, "--out", tmp_path, "--schedule", "real", "--iterations", 3)
    assert invoke(*run, "--batch-size", 2).exit_code == 0
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("data", "rows", "columns"),
    [
        ("inria_person", {"detector"}, {"AP", "recall", "shown recall"}),
        ("coco_person", {"detector"}, {"AP", "recall", "shown recall"}),
        ("negatives", {"detector"}, {"false people"}),
    ],
)
def test_evaluate_on_real_scenes(
    bundle: Path, real: Path, tmp_path: Path, data: str, rows: set[str], columns: set[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["evaluate", bundle, "--data", data, "--root", real / data, "--json", report]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.exception
    results = json.loads(report.read_text())["results"]
    assert results.keys() == rows
    assert columns <= results["detector"].keys()
