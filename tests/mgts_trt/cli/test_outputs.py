import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mgts_trt.cli.console import out
from mgts_trt.cli.outputs import FigureOption, JsonOption, PictureOption, check_place, write_json, write_picture
from mgts_trt.errors import MgtsError

app = typer.Typer()


@app.command()
def command(json_file: JsonOption = None, picture: PictureOption = None, plot: FigureOption = None) -> None:
    if json_file:
        write_json(json_file, json.dumps({"one": 1}))
    if picture:
        write_picture(picture, np.full((4, 6, 3), 9, np.uint8))
    out.print("for people")


def test_a_dash_is_standard_output_and_words_step_aside() -> None:
    result = CliRunner().invoke(app, ["--json", "-"])
    assert (json.loads(result.stdout), result.stderr) == ({"one": 1}, "for people\n")
    assert CliRunner().invoke(app, []).stdout == "for people\n"


def test_a_picture_on_standard_output_is_png() -> None:
    data = np.frombuffer(CliRunner().invoke(app, ["--picture", "-"]).stdout_bytes, np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (4, 6, 3)


def test_standard_output_takes_one_thing() -> None:
    result = CliRunner().invoke(app, ["--json", "-", "--plot", "-"])
    assert isinstance(result.exception, MgtsError)
    assert "given twice" in str(result.exception)
    assert not out.stderr


@pytest.mark.parametrize(
    ("option", "file", "message"),
    [
        ("--json", "", "is a folder"),
        ("--json", "nowhere/r.json", "there is no folder"),
        ("--json", "n" * 300, "too long"),
        ("--json", "note.txt/r.json", "there is no folder"),
        ("--picture", "p.svg", "must end in .jpg or .jpeg or .png"),
        ("--picture", "p", "must end in"),
        ("--plot", "p.jpg", "must end in .png or .svg or .pdf"),
        ("--plot", "nowhere/p.png", "there is no folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(tmp_path: Path, option: str, file: str, message: str) -> None:
    (tmp_path / "note.txt").write_text("a note")
    result = CliRunner().invoke(app, [option, f"{tmp_path}/{file}"])
    assert isinstance(result.exception, MgtsError)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_a_folder_that_others_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MgtsError, match="not yours to write to"):
        check_place(tmp_path / "r.json")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/fd is Linux's")
def test_pipes_are_places(tmp_path: Path) -> None:
    check_place(Path("/dev/null"))
    reading, writing = os.pipe()
    check_place(Path(f"/dev/fd/{writing}"))
    write_json(Path(f"/dev/fd/{writing}"), "{}")
    assert os.read(reading, 10) == b"{}\n"
    os.close(reading)
    os.close(writing)
