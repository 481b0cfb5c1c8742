"""`python -m training card`: the table of a bundle's model card, each row measured by a command of its own."""

import hashlib
import json
import shlex
import string
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import out as console
from mgts_trt.cli.console import warn
from mgts_trt.errors import MgtsError, first_fault
from mgts_trt.machine.files import write_text
from mgts_trt.version import __version__

CHECKOUT = Path(__file__).parents[2]
ROWS = Path(__file__).parent / "card.toml"

BEGIN, END = "<!-- measured by `python -m training card` -->", "<!-- measured up to here -->"
"""Between these two lines of a card stands what is measured."""

_SETTINGS = ("canvas", "pad", "normalisation", "patch", "gamma", "thresholds")
"""Of a manifest, beside the networks: what results depend on."""

_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless")

_MISSING = "not measured"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Strict):
    """A command that measures, with `{bundle}` and `{root}` where their folders go, and the networks it depends on."""

    command: str = Field(pattern=r"^(python -m training|mgts-trt) ")
    models: tuple[str, ...]


class Row(_Strict):
    """A row of the card; `what` of the row above where it is missing. Cells hold `{SET/NUMBER:FORMAT}`."""

    what: str = ""
    on: str
    by: str
    result: str
    aim: str = ""


class Rows(_Strict):
    """The content of `card.toml`."""

    measurements: dict[str, Measurement]
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _measured(self) -> "Rows":
        if unknown := sorted({row.by for row in self.rows} - self.measurements.keys()):
            raise ValueError(f"a row is measured by {unknown[0]!r}, which is none of the measurements")
        return self


class CardError(MgtsError):
    """Rows, results or a card that are not as expected."""


def card(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    root: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    results: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="All results, kept up to date while measuring: what is there of the same networks is not measured "
            "again. By default benchmarks/results/card_PRESET.json of this checkout.",
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the table into the bundle's README.md.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure everything anew.")] = False,
    only: Annotated[str, typer.Option(help="Some measurements, with commas between them.")] = "",
    rows: Annotated[Path, typer.Option(help="What is measured and shown, TOML.")] = ROWS,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Measure a bundle for its model card, and print the table as Markdown; exit code 1 if something failed.

    A run that was stopped goes on where it was. A measurement that fails costs its own rows.
    """
    wanted, opened = read_rows(rows), Bundle.open(bundle)
    file = results or CHECKOUT / f"benchmarks/results/card_{opened.manifest.preset}.json"
    chosen = [name for name in wanted.measurements if not only or name in only.split(",")]
    if unknown := sorted(set(filter(None, only.split(","))) - wanted.measurements.keys()):
        raise CardError(f"There is no measurement {unknown[0]!r}; {', '.join(wanted.measurements)} are in {rows}.")
    if write:
        table_between("", opened.root / "README.md")  # fails before the work, not after
    kept, failed = _read_results(file), []
    for name in chosen:
        measurement = wanted.measurements[name]
        key = state_of(opened, measurement)
        if not fresh and kept.get(name, {}).get("state") == key:
            console.print(f"{name}: already measured on these networks")
            continue
        kept.pop(name, None)
        began = time.monotonic()
        try:
            with console.status(f"measuring {name}"):
                numbers = run_measurement(measurement, opened.root, root)
        except CardError as error:
            warn(f"{name} was not measured: {error}")
            failed.append(name)
            continue
        seconds = round(time.monotonic() - began, 1)
        console.print(f"{name}: measured in {seconds:.0f} s")
        command = shown_command(measurement)
        kept[name] = {"command": command, "state": key, "seconds": seconds, "versions": _versions(), "results": numbers}
        write_text(
            file, json.dumps({name: kept[name] for name in wanted.measurements if name in kept}, indent=1) + "\n"
        )
    current = {
        name: kept[name]["results"]
        for name, measurement in wanted.measurements.items()
        if kept.get(name, {}).get("state") == state_of(opened, measurement)
    }
    markdown = card_table(wanted, current)
    print(markdown)
    if write:
        readme = opened.root / "README.md"
        write_text(readme, table_between(markdown, readme))
        console.print(f"{readme}: table written")
    if failed:
        raise typer.Exit(1)


def read_rows(path: Path) -> Rows:
    """Read what is measured and shown.

    Raises:
        CardError: No such file, or not of that form.
    """
    try:
        return Rows.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CardError(f"Cannot read {path}: {error.strerror}. Name a file of rows.") from error
    except ValidationError as error:
        raise CardError(
            f"{path} is wrong {first_fault(error)}. Mend it as training/evaluation/card.toml is."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"{path} is not TOML: {error}. Mend it.") from error


def state_of(bundle: Bundle, measurement: Measurement) -> str:
    """A digest of all that a measurement's results depend on: command, networks, settings of the manifest."""
    manifest = bundle.manifest
    models = {
        name: {precision: file.sha256 for precision, file in manifest.models[name].files.items()}
        for name in measurement.models
        if name in manifest.models
    }
    settings = {name: manifest.model_dump(mode="json")[name] for name in _SETTINGS}
    told = json.dumps({"command": measurement.command, "models": models, "settings": settings}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def shown_command(measurement: Measurement) -> str:
    """The command as the card shows it, from a checkout, with the data in DATA."""
    return measurement.command.format(bundle="bundle", root="DATA")


def run_measurement(measurement: Measurement, bundle: Path, root: Path) -> dict[str, Any]:
    """Run a command in this checkout, with this Python, and read its numbers.

    Returns:
        By set or part, numbers by name.

    Raises:
        CardError: It wrote no results.
    """
    words = [word.format(bundle=bundle.resolve(), root=root.resolve()) for word in shlex.split(measurement.command)]
    words = [sys.executable, *(("-m", "mgts_trt") if words[0] == "mgts-trt" else ()), *words[1:]]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [*words, "--json", str(report)], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        # Parity exits with 1 where a bound is broken, and has measured nevertheless.
        if done.returncode not in (0, 1) or not report.is_file():
            said = " ".join((done.stderr or done.stdout).split()[-60:])
            raise CardError(f"`{shlex.join(words)}` ended with {done.returncode}: {said}")
        return numbers_of(json.loads(report.read_text("utf-8")))


def numbers_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report's numbers: `results`, single numbers beside them, and of parity on labelled pictures those of FP32."""
    numbers: dict[str, Any] = dict(report.get("results", {}))
    for row in (report.get("task") or {}).get("comparisons", []):
        if row["precision"] == "fp32":
            numbers.setdefault(row["part"], {})[row["metric"]] = row["value"]
    alone = {name: value for name, value in report.items() if name not in ("results", "task", "ok")}
    return {**{name: value for name, value in alone.items() if isinstance(value, int | float | Mapping)}, **numbers}


def card_table(rows: Rows, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table in Markdown, and the commands below it by number.

    Args:
        rows: What to show.
        results: Of each measurement there is, numbers by set and name.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row.by for row in rows.rows), 1)}
    lines = ["| what | on | result | aimed at | by |", "| --- | --- | --- | --- | --- |"]
    for row in rows.rows:
        measured = results.get(row.by)
        cells = [fill(cell, measured) for cell in (row.what, row.on, row.result)]
        lines.append(f"| {' | '.join([*cells, row.aim, str(numbers[row.by])])} |".replace("|  |", "| |"))
    lines.append("")
    lines += [f"{number}. `{shown_command(rows.measurements[name])}`" for name, number in numbers.items()]
    return "\n".join(lines)


def fill(cell: str, numbers: Mapping[str, Any] | None) -> str:
    """A cell with its numbers; `not measured` where one is missing."""
    text = ""
    for literal, path, form, _ in string.Formatter().parse(cell):
        text += literal
        if path is None:
            continue
        value: Any = numbers
        for step in path.split("/"):
            value = value.get(step) if isinstance(value, Mapping) else None
        if not isinstance(value, int | float):
            return _MISSING
        text += format(value, form or "")
    return text


def table_between(markdown: str, path: Path) -> str:
    """The text of a card with the table between its two marks.

    Raises:
        CardError: There is no such file, or not each mark once, in order.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise CardError(f"Cannot read the card {path}: {error.strerror}. A bundle's card is its README.md.") from error
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    if text.count(BEGIN) != 1 or text.count(END) != 1 or END in before:
        raise CardError(
            f"{path} is to hold the lines {BEGIN!r} and {END!r} once each, in this order. Write them there."
        )
    return f"{before}{BEGIN}\n\n{markdown}\n\n{END}{after}"


def _read_results(path: Path) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CardError(f"Cannot read {path}: {error}. Remove it, and everything is measured anew.") from error
    if not isinstance(kept, dict) or not all(isinstance(value, dict) for value in kept.values()):
        raise CardError(f"{path} holds no results of this command. Name another file, or remove it.")
    return kept


def _versions() -> dict[str, str]:
    return {"mgts-trt": __version__, **{name: version(name) for name in _PACKAGES}}
