import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PRINTS = """
import sys, typer
from mgts_trt.cli.console import out, warn
from mgts_trt.cli.run import run_app
app = typer.Typer()
@app.command()
def command(file: str):
    for i in range(20_000):
        out.print(f"line {i} é 日本")
    warn("é")
    open(file, "w").write("done")
run_app(app)
"""


def shell(line: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "prints.py").write_text(PRINTS)
    line = line.replace("COMMAND", f"{sys.executable} prints.py done.txt")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **environment}
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, env=env, capture_output=True)


@pytest.mark.parametrize("reader", ["head -n 2", "true", "head -c 1"])
def test_a_reader_that_has_seen_enough_ends_nothing(tmp_path: Path, reader: str) -> None:
    done = shell(f"COMMAND | {reader}", tmp_path)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert (tmp_path / "done.txt").read_text() == "done"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_replaced(tmp_path: Path, encoding: str) -> None:
    done = shell("COMMAND", tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).splitlines()[1].startswith("line 1 ")
    assert (tmp_path / "done.txt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a device without room, here")
def test_a_full_disk_is_no_defect(tmp_path: Path) -> None:
    done = shell("COMMAND > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("Error: Cannot write to standard output: No space left on device.")
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    done = shell(f"COMMAND {closed}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done.txt").read_text() == "done"


@pytest.mark.parametrize("arguments", ["--help", "--version", "detect --help", "gallery"])
def test_help_into_a_pipe_nobody_reads(tmp_path: Path, arguments: str) -> None:
    read = shell(f"{sys.executable} -m mgts_trt {arguments}", tmp_path)
    unread = shell(f"{sys.executable} -m mgts_trt {arguments} | true", tmp_path)
    assert unread.returncode == read.returncode
    assert b"Traceback" not in unread.stderr
