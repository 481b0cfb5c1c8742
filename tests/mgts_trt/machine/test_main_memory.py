import subprocess
import sys

import pytest

from mgts_trt.machine import main_memory as memory
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:        7990132 kB\nMemFree: 12 kB\nMemAvailable:    5242880 kB\n", 5 << 30),
        ("MemTotal:        7990132 kB\n", None),
        ("MemAvailable:\n", None),
        ("MemAvailable: much kB\n", None),
        (None, None),
    ],
)
def test_available_memory(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert memory.available_memory() == expected


def test_of_this_machine():
    assert memory.available_memory() > 1 << 20


_RETURNED = """
import ctypes, numpy as np
from pathlib import Path
from mgts_trt.machine.main_memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8  # MiB

pieces = [ctypes.create_string_buffer(60_000) for _ in range(5_000)]
for piece in pieces:
    ctypes.memset(piece, 1, 60_000)
kept, full = pieces[::50], resident()
pieces.clear()
before = resident()
give_back()
print(full, before, resident())
"""


def test_what_was_freed_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _RETURNED], cwd=ROOT, capture_output=True, text=True, check=True)
    full, before, after = map(int, done.stdout.split())
    assert before > full - 100, "glibc keeps pieces between those in use"
    assert after < full - 200


def test_another_c_library(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    memory.give_back()
