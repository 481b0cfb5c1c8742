"""`python -m training card`: what it measures, when it does not, and what it writes."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.pictures.image import write_image
from tests.helpers.cell_scenes import scene
from tests.helpers.command_lines import fault
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle
from training.__main__ import app
from training.evaluation import card
from training.evaluation.card import BEGIN, END, CardError, Measurement, fill, read_rows, table_between

TOML = """
[measurements.people]
command = "python -m training evaluate {bundle} --data negatives --root {root}/negatives"
models = ["detector"]
[measurements.crops]
command = "mgts-trt parity {bundle}"
models = ["mgts"]
[[rows]]
what = "people, from {threshold:g} on"
on = "{photos/pictures:d} photos"
by = "people"
result = "{photos/AP:.2f} ({photos/shown recall:.2f})"
aim = "≥ 0.5"
[[rows]]
on = "crops"
by = "crops"
result = "{re-ID, net/top-1:.3f}"
"""

NUMBERS = {
    "people": {"threshold": 0.7, "photos": {"pictures": 3, "AP": 0.625, "shown recall": 1}},
    "crops": {"re-ID, net": {"top-1": 0.5}},
}

TABLE = """| what | on | result | aimed at | by |
| --- | --- | --- | --- | --- |
| people, from 0.7 on | 3 photos | 0.62 (1.00) | ≥ 0.5 | 1 |
| | crops | 0.500 | | 2 |

1. `python -m training evaluate bundle --data negatives --root DATA/negatives`
2. `mgts-trt parity bundle`"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.toml").write_text(TOML)
    return tmp_path / "rows.toml"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = make_tiny_bundle(tmp_path / "bundle")
    (made / "README.md").write_text(f"# A bundle\n\n{BEGIN}\nold\n{END}\n\nLimits.\n")
    return made


class Measured:
    """Stands for the commands: tells which were run, and fails where it is told to."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.fails = ""

    def __call__(self, measurement: Measurement, bundle: Path, root: Path) -> dict[str, Any]:
        name = "people" if "evaluate" in measurement.command else "crops"
        if name == self.fails:
            raise CardError("no such data")
        self.runs.append(name)
        return NUMBERS[name]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    stand_in = Measured()
    monkeypatch.setattr(card, "run_measurement", stand_in)
    return stand_in


def run(bundle: Path, rows: Path, *options: str) -> Result:
    arguments = ["card", bundle, "--root", "DATA", "--rows", rows, "--json", rows.parent / "card.json", *options]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_table_is_measured_and_written(bundle: Path, rows: Path, measured: Measured) -> None:
    result = run(bundle, rows, "--write")
    assert result.exit_code == 0
    assert TABLE in result.output
    assert (bundle / "README.md").read_text() == f"# A bundle\n\n{BEGIN}\n\n{TABLE}\n\n{END}\n\nLimits.\n"
    kept = json.loads((rows.parent / "card.json").read_text())
    assert {name: each["results"] for name, each in kept.items()} == NUMBERS
    assert kept["people"]["versions"].keys() >= {"mgts-trt", "onnxruntime"}
    assert kept["people"]["command"] == "python -m training evaluate bundle --data negatives --root DATA/negatives"


def test_what_has_not_changed_is_not_measured_again(bundle: Path, rows: Path, measured: Measured) -> None:
    run(bundle, rows, "--only", "people")
    assert measured.runs == ["people"]
    assert "| | crops | not measured | | 2 |" in run(bundle, rows, "--only", "people").output
    assert TABLE in run(bundle, rows).output
    assert measured.runs == ["people", "crops"]
    run(bundle, rows, "--fresh")
    assert measured.runs == ["people", "crops"] * 2


@pytest.mark.parametrize(
    ("changed", "again"),
    [("detector", ["people"]), ("mgts", ["crops"]), ("masknet", []), ("thresholds", ["people", "crops"])],
)
def test_what_has_changed_is_measured_again(
    bundle: Path, rows: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch, changed: str, again: list[str]
) -> None:
    run(bundle, rows)
    measured.runs.clear()
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    if changed == "thresholds":
        update: dict[str, Any] = {"thresholds": manifest.thresholds.model_copy(update={"detection": 0.33})}
    else:
        model = manifest.models[changed]
        files = {name: file.model_copy(update={"sha256": "0" * 64}) for name, file in model.files.items()}
        update = {"models": {**manifest.models, changed: model.model_copy(update={"files": files})}}
    opened.manifest = manifest.model_copy(update=update)
    monkeypatch.setattr(Bundle, "open", lambda path: opened)
    measured.fails = "crops"  # numbers of other networks are not shown
    result = run(bundle, rows)
    assert measured.runs == [name for name in again if name != "crops"]
    assert ("not measured" in result.output) == ("crops" in again)
    assert result.exit_code == int("crops" in again)
    measured.fails = ""
    assert run(bundle, rows).exit_code == 0
    assert sorted(measured.runs) == sorted(again)


def test_a_failure_costs_its_own_rows(bundle: Path, rows: Path, measured: Measured) -> None:
    measured.fails = "people"
    result = run(bundle, rows, "--write")
    assert result.exit_code == 1
    assert "people was not measured: no such data" in " ".join(result.output.split())
    assert "| not measured | not measured | not measured | ≥ 0.5 | 1 |" in (bundle / "README.md").read_text()
    assert measured.runs == ["crops"]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("no number", "no number"),
        ("{a, b/top-1:.2f} of {n:d}", "0.50 of 3"),
        ("{a, b/gone:.2f}", "not measured"),
        ("{gone/top-1:.2f}", "not measured"),
        ("{n/top-1:.2f}", "not measured"),
        ("{a, b:.2f}", "not measured"),
    ],
)
def test_cells(cell: str, shown: str) -> None:
    assert fill(cell, {"a, b": {"top-1": 0.5}, "n": 3}) == shown


@pytest.mark.parametrize("text", ["none", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_a_card_without_its_marks(text: str, bundle: Path, rows: Path, measured: Measured) -> None:
    (bundle / "README.md").write_text(text)
    with pytest.raises(CardError, match="once each, in this order"):
        run(bundle, rows, "--write")
    assert measured.runs == [], "refused before the work"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows = [", "is not TOML"),
        (TOML.replace('by = "crops"', 'by = "crop"'), "'crop', which is none of the measurements"),
        (TOML.replace("mgts-trt parity", "rm -r"), "command"),
        (TOML.replace("aim", "goal"), "goal"),
    ],
)
def test_bad_rows(text: str, says: str, rows: Path) -> None:
    rows.write_text(text)
    with pytest.raises(CardError, match=says):
        read_rows(rows)


def test_bad_arguments(bundle: Path, rows: Path, measured: Measured) -> None:
    with pytest.raises(CardError, match="no measurement 'faces'"):
        run(bundle, rows, "--only", "people,faces")
    (rows.parent / "card.json").write_text("[1]")
    with pytest.raises(CardError, match="holds no results"):
        run(bundle, rows)
    with pytest.raises(CardError, match="Cannot read"):
        read_rows(rows.parent / "gone.toml")
    with pytest.raises(CardError, match="Cannot read the card"):
        table_between("", rows.parent / "gone.md")


@pytest.mark.slow
def test_a_command_is_run_and_read(bundle: Path, tmp_path: Path) -> None:
    entries = []
    for number in range(7):
        made = scene(f"images/{number}.png", {(0, 1): 0} if number == 6 else {})
        (tmp_path / "negatives/images").mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "negatives" / made.name, made.image)
        boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in made.boxes.tolist()]
        entries.append({"file": made.name, "persons": [{"bbox": box} for box in boxes]})
    (tmp_path / "negatives/boxes.json").write_text(json.dumps(entries))
    command = "python -m training evaluate {bundle} --data negatives --root {root}/negatives"
    numbers = card.run_measurement(Measurement(command=command, models=()), bundle, tmp_path)
    assert numbers == {"detector": {"AP": 1, "recall": 1, "shown precision": 1, "shown recall": 1, "false people": 0}}
    with pytest.raises(CardError, match=r"ended with 2.*gone"):
        card.run_measurement(Measurement(command=command, models=()), bundle, tmp_path / "gone")


def test_parity_is_read() -> None:
    rows = [
        {"part": part, "precision": precision, "metric": "search_map", "value": value}
        for part, precision, value in (("net", "fp32", 0.5), ("box", "fp32", 0.4), ("net", "int8", 0.1))
    ]
    report = {"ok": True, "backend": "onnxruntime", "comparisons": [], "task": {"comparisons": rows}}
    assert card.numbers_of(report) == {"net": {"search_map": 0.5}, "box": {"search_map": 0.4}}


def test_the_committed_rows() -> None:
    rows = read_rows(card.ROWS)
    for name, measurement in rows.measurements.items():
        assert fault(shlex.split(card.shown_command(measurement))) is None, name
    assert rows.measurements.keys() == {row.by for row in rows.rows}
    table_between("", ROOT / "bundle/README.md")


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks/results").glob("card_*.json")), ids=lambda file: file.name)
def test_the_committed_card_shows_the_committed_results(file: Path) -> None:
    kept = json.loads(file.read_text())
    readme = ROOT / "bundle/README.md"
    table = card.card_table(read_rows(card.ROWS), {name: each["results"] for name, each in kept.items()})
    assert table_between(table, readme) == readme.read_text()
    opened = Bundle.open(ROOT / "bundle")
    for name, measurement in read_rows(card.ROWS).measurements.items():
        if name in kept:
            assert kept[name]["state"] == card.state_of(opened, measurement), f"{name} is of other networks: run card"
