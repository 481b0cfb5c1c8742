"""The units of deploy/systemd, read by systemd itself."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mgts_trt.cli.app import app
from tests.helpers.paths import ROOT

FOLDER = ROOT / "deploy/systemd"
UNITS = ("mgts-trt-serve.service", "mgts-trt-index@.service", "mgts-trt-watch@.service")
DROP_INS = ("gpu.conf", "gallery-key.conf")
PROGRAM = "/opt/mgts-trt/bin/mgts-trt"


def instance(unit: str) -> str:
    return unit.replace("@", "@aisle")


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs systemd-analyze, of the package systemd")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "LANG": "C.UTF-8"}
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Where they would be installed, with a program that is there."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for unit in UNITS:
        path = tmp_path / unit
        assert PROGRAM in path.read_text()
        path.write_text(path.read_text().replace(PROGRAM, str(Path(sys.executable).parent / "mgts-trt")))
    return tmp_path


@pytest.mark.parametrize("drop_ins", [(), DROP_INS])
def test_systemd_has_nothing_to_say(drop_ins: tuple[str, ...], units: Path) -> None:
    for name in drop_ins:
        shutil.copy(FOLDER / name, units / "mgts-trt-.service.d")
    for unit in UNITS:
        done = analyze(units, "verify", "--man=no", instance(unit))
        assert (done.returncode, done.stderr) == (0, ""), unit


def test_what_systemd_does_not_know_is_caught(units: Path) -> None:
    confined = units / "mgts-trt-.service.d/10-confined.conf"
    confined.write_text(confined.read_text().replace("ProtectSystem", "ProtectSytem"))
    assert "ProtectSytem" in analyze(units, "verify", "--man=no", UNITS[0]).stderr


def test_the_user_is_made(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs systemd-sysusers, of the package systemd")
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    confined = (FOLDER / "mgts-trt-.service.d/10-confined.conf").read_text()
    (line,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if "mgts-trt" in line]
    name, _, _, _, _, home, shell = line.split(":")
    assert f"User={name}\nGroup={name}\n" in confined
    assert (home, shell.rpartition("/")[2]) == ("/var/lib/mgts-trt", "nologin")


@pytest.mark.parametrize("unit", UNITS)
def test_little_is_exposed(unit: str, units: Path) -> None:
    """Of ten at most two, by systemd's own measure; bare, it would be 9.2 and more."""
    done = analyze(units, "security", "--offline=yes", "--threshold=20", instance(unit))
    assert done.returncode == 0, done.stdout
    shutil.rmtree(units / "mgts-trt-.service.d")
    assert analyze(units, "security", "--offline=yes", "--threshold=90", instance(unit)).returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_the_commands_understand_their_lines(unit: str) -> None:
    read = configparser.RawConfigParser(strict=False)
    read.optionxform = str
    read.read(FOLDER / unit)
    line = read["Service"]["ExecStart"].replace("%i", "aisle").replace("%d", "/run/credentials/x")
    program, name, *arguments = re.sub(r" \$OPTIONS$", "", line).split()
    assert program == PROGRAM
    more = ["--for=a.jpg", "--far=1e-4"] if name == "watch" else []
    command = typer.main.get_command(app).commands[name]
    with command.make_context(name, [*arguments, *more]) as context:
        assert context.params["gallery"] == "${STATE_DIRECTORY}/gallery"
    assert float(read["Service"]["TimeoutStopSec"]) > 30
