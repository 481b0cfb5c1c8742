"""The paper's analyses, on tiny networks and scenes made here."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.paths import TINY

pytest.importorskip("torch", reason="the analyses need PyTorch")
import torch
from typer.testing import CliRunner

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import SEPARATE_MODES, Mode
from mgts_trt.errors import MgtsError
from tests.helpers.cell_scenes import Listed, scene
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.training_scenes import Streets
from training.__main__ import app
from training.checkpoint import save_checkpoint
from training.data.protocols import Query
from training.data.scene import UNKNOWN
from training.evaluation.analyses import se
from training.evaluation.analyses.components import evaluate_components
from training.evaluation.analyses.gallery import evaluate_galleries
from training.evaluation.analyses.gamma import evaluate_gammas
from training.evaluation.analyses.modes import evaluate_mode
from training.evaluation.analyses.search import MATCHES, GalleryError, sample_galleries, search_scenes
from training.evaluation.analyses.trained import AnalysisError
from training.evaluation.measure import picture_count, reid
from training.models import create
from training.models.reid import MGTS
from training.preset import Preset
from training.tasks.reid import COMPONENTS, ReidTask, ReidTaskError, scene_inputs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def scenes() -> Listed:
    return Listed(
        [
            scene("a", {(0, 1): 0, (1, 4): 1}, camera=0),
            scene("b", {(0, 2): 1, (1, 0): 2}, camera=1),
            scene("c", {(1, 3): 0, (0, 5): 3}, camera=2),
            scene("d", {}, camera=0),
            scene("e", {(1, 1): UNKNOWN}, camera=0),
        ]
    )


def analyse(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["analyse", *map(str, arguments)], env={"COLUMNS": "200"})
    if result.exception:
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    ("components", "mode"), [(name, "net") for name in COMPONENTS] + [("OFE", "box"), ("BE", "box"), ("O", "none")]
)
def test_patches_are_those_of_training(tiny: Preset, components: str, mode: Any) -> None:
    scenes = Streets(count=2)
    model = "mgts" if components.startswith("OF") else "idnet"
    options: dict[str, Any] = {"mode": mode, "components": components, "augment": False, "unlabelled": 0.4}
    task = ReidTask(tiny, scenes, model, batch_size=6, readers=1, **options)
    batch, people = task.batch(0).inputs, task._people_of(0)
    for place, person in enumerate(people):
        made = scene_inputs(tiny, scenes[int(task.people.scenes[person])], components, mode)
        assert made.keys() == batch.keys()
        for name, values in made.items():
            np.testing.assert_array_equal(values[task.people.rows[person]], batch[name][place])


def test_patches_of_no_such_components(tiny: Preset) -> None:
    with pytest.raises(ReidTaskError, match="'FB'"):
        scene_inputs(tiny, Streets()[0], "FB")


@pytest.mark.slow
def test_components_are_trained_as_told_and_then_evaluated(root: Path, tmp_path: Path) -> None:
    market, report = root / "market1501", tmp_path / "report.json"
    study = ("components", "--root", market, "--runs", tmp_path, "--data", "market1501", "--preset", str(TINY))
    study = (*study, "--device", "cpu", "--json", report)
    commands = [line for line in analyse(*study).splitlines() if line.startswith("python -m training ")]
    assert len(commands) == len(COMPONENTS)
    assert json.loads(report.read_text())["results"] == {}
    for command in commands[COMPONENTS.index("B")], commands[COMPONENTS.index("OFE")]:
        brief = ["--iterations", "2", "--batch-size", "2", "--device", "cpu"]
        assert CliRunner().invoke(app, [*shlex.split(command)[3:], *brief]).exit_code == 0
    output = analyse(*study)
    assert output.count("python -m training ") == len(COMPONENTS) - 2
    results = json.loads(report.read_text())["results"]
    assert results.keys() == {"B", "OFE"}
    assert all(0 < numbers["mAP"] <= 1 and 0 <= numbers["top-1"] <= numbers["top-10"] for numbers in results.values())
    (tmp_path / "B").rename(tmp_path / "F")
    with pytest.raises(AnalysisError, match="with components 'B', but 'F'"):
        analyse(*study)


def test_components_tell_people_apart_only_where_they_differ(tiny: Preset, tmp_path: Path) -> None:
    """The people of these scenes differ in clothes, and stand on the same grey: F is telling, B is not."""
    seen = Listed([scene(f"{i}", {(0, 1): i % 3, (1, 4): (i + 1) % 3}, camera=i) for i in range(6)])
    weights = tmp_path / "idnet.safetensors"
    save_checkpoint(weights, create("idnet", tiny).eval(), model="idnet", preset="tiny")
    result = {
        name: evaluate_components(weights, tiny, seen, name, device="cpu", on_step=lambda: None) for name in ("F", "B")
    }
    assert result["F"].mean_average_precision == pytest.approx(1)
    assert result["B"].mean_average_precision < 0.9


def test_se_statistics_by_hand() -> None:
    weights = np.full((4, 60), 0.1)
    weights[0, :12], weights[0, 30:38] = 0.9, 0.8  # twelve of F and eight of O lead
    weights[1, 5:30], weights[1, 59] = 0.5, 0.6  # one of O, then nineteen of F's twenty-five
    weights[2, 30:] = 0.2  # only O
    # Person 3 has equal weights: neither stream leads.
    statistics = se.se_statistics(weights)
    assert statistics.n20.tolist() == [12, 19, 0, 10]
    np.testing.assert_allclose(statistics.average_f, [0.42, 26 / 60, 0.1, 0.1])
    np.testing.assert_allclose(statistics.average_o, [0.1 + 8 * 0.7 / 30, 0.1 + 0.5 / 30, 0.2, 0.1])
    assert statistics.summary()["Avg(F) > Avg(O)"] == 0.5
    assert {n: count for n, count in enumerate(statistics.histogram) if count} == {0: 1, 10: 1, 12: 1, 19: 1}


@pytest.mark.parametrize(("favoured", "n20", "share"), [("f", 16, 1.0), ("o", 4, 0.0), (None, 10, 0.0)])
def test_se_weights_of_a_network(tiny: Preset, tmp_path: Path, favoured: str | None, n20: int, share: float) -> None:
    """Of 2 × 16 channels, all of the favoured stream are among the twenty largest."""
    network, path = create("mgts", tiny), tmp_path / "mgts.safetensors"
    assert isinstance(network, MGTS)
    halves = {"f": slice(0, 16), "o": slice(16, 32)}
    with torch.no_grad():
        network.se.squeeze.weight.fill_(0.1)
        network.se.excite.weight.zero_()
        if favoured:
            network.se.excite.weight[halves[favoured]] = 100.0  # saturated in float32
    save_checkpoint(path, network, model="mgts", preset="tiny")
    statistics = se.inspect_weights(path, tiny, Streets(), mode="net", device="cpu", on_step=lambda: None)
    assert len(statistics.n20) == 18
    assert set(statistics.n20.tolist()) == {n20}
    assert statistics.summary()["Avg(F) > Avg(O)"] == share


def test_everybody_seen_twice_is_searched_for(scenes: Listed) -> None:
    search = search_scenes(scenes)
    assert [(query.identity, query.image, query.camera) for query in search.queries] == [(0, "a", 0), (1, "a", 0)]
    first = dict(search.queries[0].gallery)
    assert first.keys() == {"b", "c", "d", "e"}, "the query's own scene is left out"
    np.testing.assert_array_equal(first["c"], scenes[2].boxes[0])
    assert [name for name, box in search.queries[1].gallery if box is not None] == ["b"]
    np.testing.assert_array_equal(search.picture("c"), scenes[2].image)
    with pytest.raises(GalleryError, match="nobody to search for"):
        search_scenes(Listed([scenes[1], scenes[2]]))


@given(
    shown=st.lists(st.booleans(), min_size=40, max_size=60),
    sizes=st.tuples(st.integers(MATCHES + 1, 40), st.integers(MATCHES + 1, 40)),
    seed=st.integers(0, 5),
)
def test_galleries_hold_the_matches_and_grow(shown: list[bool], sizes: tuple[int, int], seed: int) -> None:
    box = np.zeros(4, np.float32)
    query = Query("probe", box, 0, UNKNOWN, [(f"{i}", box if there else None) for i, there in enumerate(shown)])
    others = shown.count(False) + min(MATCHES, sum(shown))
    if max(sizes) > others:
        with pytest.raises(GalleryError, match=f"only {others} are to be had"):
            sample_galleries([query], max(sizes), seed=seed)
        return
    small, large = (dict(sample_galleries([query], size, seed=seed)[0].gallery) for size in sorted(sizes))
    assert (len(small), len(large)) == tuple(sorted(sizes))
    assert small.items() <= large.items() <= dict(query.gallery).items()
    matches = [name for name, seen in query.gallery if seen is not None][:MATCHES]
    assert [name for name in small if small[name] is not None] == matches
    assert [name for name in large if large[name] is not None] == matches


def test_a_gallery_has_room_for_others() -> None:
    with pytest.raises(GalleryError, match="may show the person"):
        sample_galleries([], MATCHES)


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_galleries_and_modes_agree(bundle: Path, scenes: Listed, mode: Mode) -> None:
    opened, search = Bundle.open(bundle), search_scenes(scenes)
    asked: list[str] = []
    steps: list[None] = []

    def picture(name: str) -> Any:
        asked.append(name)
        return search.picture(name)

    alone = [
        Query(q.image, q.box, q.identity, q.camera, [e for e in q.gallery if e[1] is None]) for q in search.queries
    ]
    by_size = {4: search.queries, 3: [alone[0], search.queries[1]]}
    result = evaluate_galleries(opened, picture, by_size, mode, on_step=lambda: steps.append(None))
    assert sorted(asked) == ["a", "b", "c", "d", "e"], "each once, for all sizes and probes"
    assert len(steps) == picture_count([*by_size[4], *by_size[3]]) == 5
    assert result[4].mean_average_precision == pytest.approx(1)
    assert (result[4].counted, result[3].counted) == (2, 1)
    row = evaluate_mode(opened, search, mode, on_step=lambda: None)
    assert row.ranking.summary() == result[4].summary()
    assert row.pictures == 4, "the probes' own picture is in no gallery"


def test_gammas_are_those_of_re_id(bundle: Path, scenes: Listed) -> None:
    opened = Bundle.open(bundle)
    result = evaluate_gammas(opened, scenes, "net", (1.0, 1.3), begin=lambda gamma: lambda: None)
    assert result.keys() == {1.0, 1.3}
    np.testing.assert_array_equal(result[1.3].average_precisions, reid(opened, scenes, "net").average_precisions)


@pytest.mark.slow
def test_tables_and_figures(tiny: Preset, bundle: Path, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    weights, report, common = tmp_path / "mgts.safetensors", tmp_path / "report.json", ("--root", root)
    save_checkpoint(weights, create("mgts", tiny), model="mgts", preset="tiny")
    results = {}
    for name, *arguments in (
        ("gamma", bundle, "--gammas", "1.2,1.0", "--scenes", 12, "--out", tmp_path),
        ("modes", bundle, "--mode", "box,none", "--scenes", 12),
        ("gallery", bundle, "--sizes", "8,9", "--mode", "box", "--scenes", 12, "--out", tmp_path),
        ("se", weights, "--preset", str(TINY), "--scenes", 4, "--out", tmp_path, "--device", "cpu"),
    ):
        output = analyse(name, *arguments, *common, "--json", report)
        results[name] = json.loads(report.read_text())["results"]
        if "--out" in arguments:
            picture = cv2.imread(str(tmp_path / f"{name}.png"))
            assert picture.std() > 10, "something is drawn"
            assert f"{name}.png" in output.replace("\n", "")
    assert list(results["gamma"]["net"]) == ["1", "1.2"]
    assert results["modes"].keys() == {"none", "box"}
    assert results["modes"]["box"]["seconds"] > 0
    assert results["gallery"]["box"].keys() == {"8", "9"}
    (of_network,) = results["se"].values()
    assert sum(of_network["histogram"]) == of_network["people"] > 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gamma", "--mode", "all"), "only net and box look at masks"),
        (("gamma", "--gammas", "0.9"), "at least 1"),
        (("gamma", "--gammas", "wide"), "got 'wide'"),
        (("gallery", "--data", "cuhk_sysu", "--sizes", "60"), "no galleries of 60"),
        (("gallery", "--scenes", "12", "--sizes", "200"), "smaller --sizes"),
    ],
)
def test_what_cannot_be_is_said(bundle: Path, root: Path, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(MgtsError, match=says):
        analyse(arguments[0], bundle, "--root", root, *arguments[1:])


def test_without_matplotlib_nothing_is_measured_in_vain(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MgtsError, match="pip install matplotlib"):
        analyse("gallery", bundle, "--root", tmp_path, "--out", tmp_path)
