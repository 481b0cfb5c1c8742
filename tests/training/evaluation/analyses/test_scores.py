"""Thresholds and calibration of a detector's scores, against numbers known beforehand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mgts_trt.pictures.image import write_image
from tests.helpers.cell_scenes import scene
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.__main__ import app
from training.evaluation.analyses.scores import (
    SETS,
    calibration,
    curve,
    draw_scores,
    fit_calibration,
    fit_temperature,
    propose_threshold,
    sampled_curve,
    tempered,
)
from training.evaluation.detector import Detections


def judged(
    scores: list[float], people: list[bool], *, truths: int = 0, pictures: list[int] | None = None
) -> Detections:
    """Detections in ten pictures, all in the first if not told; there are `truths`, and nobody in the others."""
    labelled = np.zeros(10, np.int64)
    labelled[0] = truths
    where = np.array(pictures or [0] * len(scores), np.int64)
    return Detections(np.array(scores, np.float64), np.array(people, np.bool_), where, labelled, labelled == 0)


PEOPLE = judged([0.95, 0.8, 0.7, 0.7, 0.4], [True, True, False, True, True], truths=8)


def test_curve() -> None:
    thresholds, precision, recall = curve(PEOPLE)
    np.testing.assert_allclose(thresholds, [0.95, 0.8, 0.7, 0.4])
    np.testing.assert_allclose(precision, [1, 1, 3 / 4, 4 / 5])
    np.testing.assert_allclose(recall, [1 / 8, 2 / 8, 3 / 8, 4 / 8])
    for threshold, of_these, among_all in zip(thresholds, precision, recall, strict=True):
        shown = PEOPLE.shown(threshold)
        assert (shown.precision(), shown.recall()) == pytest.approx((of_these, among_all))
    assert all(len(part) == 0 for part in curve(judged([], [], truths=1)))


@pytest.mark.parametrize(
    ("nobody", "precision", "proposed"),
    [
        ([], 0.75, 0.05),
        ([], 0.8, 0.05),
        ([], 0.9, 0.71),
        ([0.6] * 2, 0.75, 0.61),  # two in ten pictures are too many
        ([0.97], 0.75, None),
        ([], 1.1, None),
    ],
)
def test_the_smallest_threshold_that_does(nobody: list[float], precision: float, proposed: float | None) -> None:
    empty = judged(nobody, [False] * len(nobody))
    assert propose_threshold(PEOPLE, empty, precision=precision, false_people=0.05) == proposed


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=60), st.floats(0.2, 5))
def test_calibration_moves_scores_and_keeps_their_order(pairs: list[tuple[float, bool]], temperature: float) -> None:
    scores, people = np.array([score for score, _ in pairs]), np.array([person for _, person in pairs])
    after = tempered(scores, temperature)
    assert ((after > 0) & (after < 1)).all()
    assert (np.diff(after[np.argsort(scores)]) >= 0).all()
    fit = calibration(scores, people)
    assert fit.counts.sum() == len(scores)
    assert 0 <= fit.error <= 1
    assert np.average(fit.shares, weights=fit.counts) == pytest.approx(people.mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.06, 0.94, 20_000)
    people = rng.random(len(true)) < true
    scores = tempered(true, 1 / temperature)  # surer than they ought to be where the temperature is above 1
    assert fit_temperature(scores, people) == pytest.approx(temperature, rel=0.05)
    assert calibration(true, people).error < 0.02
    found = judged(scores.tolist(), people.tolist(), truths=1, pictures=(np.arange(len(true)) % 10).tolist())
    before, after = fit_calibration([found]).values()
    assert after.error <= before.error + 0.01
    if temperature != 1:
        assert before.error > 0.05
        assert after.error < 0.04


def test_calibration_of_nothing() -> None:
    assert fit_calibration([judged([], [])]) == {}
    assert fit_calibration([judged([0.9], [True], truths=1)]) == {}


def test_figure() -> None:
    fits = fit_calibration([judged([0.9, 0.6, 0.3], [True, True, False], truths=2, pictures=[0, 1, 2])])
    figure = draw_scores({"people": PEOPLE, "nobody": judged([0.5], [False])}, 0.7, fits, title="both")
    left, right = figure.axes
    (name,) = left.get_legend().get_texts()
    assert name.get_text() == f"people, AP {PEOPLE.average_precision():.3f}"
    dot = left.lines[1]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (3 / 8, 3 / 4)
    assert len(right.get_legend().get_texts()) == len(fits) == 2


def test_sampled_curve() -> None:
    points = {point.pop("threshold"): point for point in sampled_curve(PEOPLE)}
    assert points[0.8] == {"shown precision": 1, "shown recall": 0.25, "false people": 0}
    assert points[0.4]["shown recall"] == 0.5


def test_command(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for data in SETS:
        folder = tmp_path / "data" / data.value
        people = {} if data.value == "negatives" else {(0, 1): 0, (1, 4): 1}
        entries = []
        for number in range(7):
            made = scene(f"images/{number}.png", people)
            (folder / "images").mkdir(parents=True, exist_ok=True)
            write_image(folder / made.name, made.image)
            boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in made.boxes.tolist()]
            entries.append({"file": made.name, "persons": [{"bbox": box} for box in boxes]})
            if data.value == "penn_fudan":
                (folder / "masks").mkdir(exist_ok=True)
                write_image(folder / "images" / f"{number}.jpg", made.image)
                cv2.imwrite(str(folder / "masks" / f"{number}.png"), made.instances.astype(np.uint8))
        (folder / "boxes.json").write_text(json.dumps(entries))
    report = tmp_path / "scores.json"
    options = ["--root", tmp_path / "data", "--out", tmp_path / "figures", "--json", report]
    result = CliRunner().invoke(app, ["analyse", "scores", str(bundle), *map(str, options)])
    assert result.exit_code == 0, result.exception
    told = json.loads(report.read_text())
    assert told["results"]["inria_person"] == {
        "pictures": 2, "people": 4, "AP": 1, "recall": 1, "shown precision": 1, "shown recall": 1,
    }  # fmt: skip
    assert told["results"]["negatives"] == {"pictures": 2, "people": 0, "false people": 0}
    assert told["proposed threshold"] == 0.05
    assert (tmp_path / "figures/scores.png").stat().st_size > 10_000
    assert "0.05" in result.output
