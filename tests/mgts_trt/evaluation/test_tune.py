import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation import tune as module
from mgts_trt.evaluation.tune import MARGIN, Measured, choose, settings_for, tune
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.plans.lowering import RUNNABLE
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.tuned import FASTEST, Setting
from mgts_trt.runtime.session.tuned_lowering import recall_lowering
from tests.helpers.simulated_machine import A4000, simulated_machine
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle


def scene(*cells):
    image = np.full((*CANVAS, 3), 60, np.uint8)
    for row, column in cells:
        image[row * CELL[0] : (row + 1) * CELL[0], column * CELL[1] : (column + 1) * CELL[1]] = 230 + row + column
    return image


PICTURES = [scene((0, 1)), scene((1, 2), (0, 4)), scene()]


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    return Bundle.open(make_tiny_bundle(tmp_path / "bundle"))


def test_on_a_cpu_for_real(bundle):
    steps = []
    report = tune(bundle, PICTURES, rounds=3, on_step=lambda *step: steps.append(step))
    settings = [(each.setting.threads, each.setting.spinning) for each in report.settings]
    assert settings == [(2, False), (2, True), (1, False)]
    for each in report.settings:
        assert (each.at_parity, each.problem, len(each.images_per_second)) == (True, "", 3)
        assert each.parity == "100.0% found, least cosine 1.0000"
        assert each.speed > 0
    names = [str(each.setting) for each in report.settings]
    there = [f"measuring {name}" for name in names]
    assert [doing for _, _, doing in steps[3:]] == there + there[::-1] + there, "in turns, there and back"
    assert [done for done, _, _ in steps] == list(range(12))
    assert {total for _, total, _ in steps} == {12}
    assert set(report.winners) == {"fp32", FASTEST}
    with PersonSearch(bundle, mode="net", precision="auto") as search:
        assert f"CPU, {report.winners['fp32'].threads} threads" == search.runtime.device
        assert "mgts-trt tune" in search.runtime.reason


def test_what_differs_never_wins(bundle, monkeypatch):
    embed = PersonSearch.embed

    def altered(self, image, boxes, **how):
        people = embed(self, image, boxes, **how)
        if "1 threads" in self.runtime.device:
            people.embeddings[:, :64] *= -1
        return people

    monkeypatch.setattr(PersonSearch, "embed", altered)
    report = tune(bundle, PICTURES, rounds=1)
    assert [each.at_parity for each in report.settings] == [True, True, False]
    assert report.winners["fp32"].threads == 2


def test_people_that_are_lost_are_no_parity(bundle, monkeypatch):
    call = PersonSearch.__call__
    first = []

    def losing(self, image, **how):
        first.append(self)
        people = call(self, image, **how)
        return people if self is first[0] else people[:0]  # the reference comes first

    monkeypatch.setattr(PersonSearch, "__call__", losing)
    report = tune(bundle, PICTURES, rounds=1)
    assert report.winners == {}
    assert {each.parity.partition(",")[0] for each in report.settings} == {"0.0% found"}


def test_on_a_simulated_gpu(bundle, monkeypatch):
    simulated_machine(monkeypatch, bundle)
    monkeypatch.setattr(module, "find_gpus", lambda: [A4000])
    report = tune(bundle, PICTURES, rounds=1)
    plans = {str(each.setting): each for each in report.settings if each.setting.backend == "tensorrt"}
    assert len(plans) == 4 * len(RUNNABLE)
    for name, each in plans.items():
        assert (each.at_parity, each.problem) == (True, ""), name
    fastest = choose(list(plans.values()))["fp32"]
    assert fastest.ops in RUNNABLE
    assert recall_lowering(bundle, "fp32") == (fastest.ops, ""), "for build to ask, whatever wins altogether"
    [cuda] = [each for each in report.settings if each.setting.backend == "onnxruntime-cuda"]
    assert "cannot run here" in cuda.problem


def test_nothing_to_run(bundle):
    for pictures, rounds in (([], 1), (PICTURES, 0)):
        with pytest.raises(MgtsError, match="At least one picture and one round"):
            tune(bundle, pictures, rounds=rounds)


def test_one_core_leaves_little_to_try(monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    assert settings_for(["fp32", "fp16"]) == [
        Setting(backend="onnxruntime", precision=precision, threads=1) for precision in ("fp32", "fp16")
    ]


def measured(precision: str, threads: int, speed: float, at_parity: bool = True) -> Measured:
    setting = Setting(backend="onnxruntime", precision=precision, threads=threads)
    return Measured(setting=setting, images_per_second=[speed] if speed else [], at_parity=at_parity)


@pytest.mark.parametrize(
    ("results", "winners"),
    [
        ([], {}),
        ([("fp32", 2, 9.0, False)], {}),
        ([("fp32", 2, 0.0)], {}),
        ([("fp32", 2, 10.0), ("fp32", 1, 10.0 * MARGIN - 0.01)], {"fp32": 2, FASTEST: 2}),
        ([("fp32", 2, 10.0), ("fp32", 1, 10.0 * MARGIN + 0.01)], {"fp32": 1, FASTEST: 1}),
        ([("fp32", 2, 10.0), ("fp32", 1, 20.0, False)], {"fp32": 2, FASTEST: 2}),
        ([("fp32", 2, 10.0, False), ("fp32", 1, 5.0)], {"fp32": 1, FASTEST: 1}),
        ([("fp32", 4, 10.0), ("fp32", 2, 12.0), ("fp32", 1, 14.0)], {"fp32": 1, FASTEST: 1}),
        ([("fp32", 4, 10.0), ("int8", 2, 9.0)], {"fp32": 4, "int8": 2, FASTEST: 4}),
        ([("fp32", 4, 10.0), ("int8", 2, 11.0)], {"fp32": 4, "int8": 2, FASTEST: 2}),
    ],
)
def test_the_winner(results, winners):
    chosen = choose([measured(*result) for result in results])
    assert {name: setting.threads for name, setting in chosen.items()} == winners
