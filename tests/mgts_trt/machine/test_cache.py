import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgts_trt.machine.cache import VARIABLE, DiskCache, cache_root
from mgts_trt.machine.gpus import Gpu
from mgts_trt.machine.locks import locked
from mgts_trt.plans import caches
from mgts_trt.plans.caches import TimingCache
from mgts_trt.plans.flavour import Flavour
from tests.helpers.paths import ROOT

HEADER = 17 + 64


@pytest.fixture
def disk(tmp_path):
    return DiskCache("test", root=tmp_path)


@pytest.mark.parametrize(
    ("value", "root"), [("off", None), ("/elsewhere", Path("/elsewhere")), (None, Path.home() / ".cache" / "mgts-trt")]
)
def test_where_the_cache_is(monkeypatch, value, root):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value:
        monkeypatch.setenv(VARIABLE, value)
    assert cache_root() == root


def test_content_is_found_again_by_its_key(disk, tmp_path):
    assert disk.load("a") is None
    disk.store("a", b"one")
    disk.store("b/../c", b"")
    disk.store("a", b"two")
    assert (disk.load("a"), disk.load("b/../c"), disk.load("b")) == (b"two", b"", None)
    assert DiskCache("other", root=tmp_path).load("a") is None
    assert sorted(path.suffix for path in (tmp_path / "test").iterdir()) == ["", ".bin", ".bin"]


def test_a_cache_that_is_off_keeps_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "off")
    monkeypatch.chdir(tmp_path)
    disk = DiskCache("test")
    disk.store("a", b"one")
    assert (disk.folder, disk.path("a"), disk.load("a")) == (None, None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: b"something else",
        lambda data: data[:HEADER] + bytes([data[HEADER] ^ 1]) + data[HEADER + 1 :],
    ],
)
def test_a_damaged_file_is_ignored_with_a_notice(disk, caplog, damage):
    disk.store("a", b"content")
    path = disk.path("a")
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert disk.load("a") is None
    assert f"{path} is damaged or foreign" in caplog.text
    disk.store("a", b"again")
    assert disk.load("a") == b"again"


def test_a_disk_that_refuses_costs_a_notice(tmp_path, caplog):
    (tmp_path / "test").write_text("a file where the folder should be")
    disk = DiskCache("test", root=tmp_path)
    with caplog.at_level(logging.WARNING):
        disk.store("a", b"one")
        assert disk.load("a") is None
    assert "Cannot write into the cache" in caplog.text


def test_what_was_used_longest_ago_goes_first(tmp_path):
    disk = DiskCache("test", limit=3 * (HEADER + 100), root=tmp_path)
    for age, key in enumerate("abc"):
        disk.store(key, bytes(100))
        os.utime(disk.path(key), (1000 + age, 1000 + age))
    assert disk.load("a")
    disk.store("d", bytes(100))
    assert [bool(disk.load(key)) for key in "abcd"] == [True, False, True, True]
    disk.store("huge", bytes(500))
    assert [bool(disk.load(key)) for key in ("a", "c", "d", "huge")] == [True, True, True, False]


WRITER = """
import sys
from pathlib import Path
from mgts_trt.machine.cache import DiskCache
disk = DiskCache("test", root=Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    disk.store("shared", bytes([int(sys.argv[2])]) * 10_000)
"""


def start_writer(root, byte, rounds):
    """Another process, about to write."""
    command = [sys.executable, "-c", WRITER, str(root), str(byte), str(rounds)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert writer.stdout.readline() == "ready\n"
    return writer


def test_processes_that_write_at_once_leave_whole_files(tmp_path, caplog):
    writers = [start_writer(tmp_path, byte, 100) for byte in (1, 2)]
    disk, seen = DiskCache("test", root=tmp_path), set()
    with caplog.at_level(logging.WARNING):
        while any(writer.poll() is None for writer in writers):
            seen.add(disk.load("shared"))
        seen.add(disk.load("shared"))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert caplog.text == ""
    assert seen - {None} <= {bytes([1]) * 10_000, bytes([2]) * 10_000}
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == [".lock", disk.path("shared").name]


def test_a_writer_waits_while_another_process_holds_the_lock(disk):
    disk.store("shared", b"mine")
    with locked(disk.folder):
        writer = start_writer(disk.folder.parent, 7, 1)
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=0.5)
        assert disk.load("shared") == b"mine"
    assert writer.wait() == 0
    assert disk.load("shared") == bytes([7]) * 10_000


class BuilderConfig:
    """The calls of IBuilderConfig that concern timing."""

    def __init__(self, refuse=()):
        self._refuse = refuse
        self.cache = None

    def create_timing_cache(self, blob):
        return None if blob in self._refuse else SimpleNamespace(serialize=lambda: blob + b"+")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


def build(flavour, disk, config):
    timing = TimingCache(flavour, disk)
    timing.attach(config)
    timing.save(config)
    return disk.load(timing.key)


def test_times_are_kept_from_build_to_build_and_by_gpu(disk, monkeypatch):
    driver = "550"
    monkeypatch.setattr(caches, "find_gpus", lambda: [Gpu("A4000", (8, 6), driver=driver)])
    flavour = Flavour("tensorrt", "10.9", None)
    assert build(flavour, disk, BuilderConfig()) == b"+"
    assert build(flavour, disk, BuilderConfig()) == b"++"
    assert build(flavour, disk, BuilderConfig(refuse=[b"++"])) == b"+"
    assert build(Flavour("tensorrt", "10.10", None), disk, BuilderConfig()) == b"+"
    assert build(flavour, disk, BuilderConfig()) == b"++"
    driver = "560"
    assert build(flavour, disk, BuilderConfig()) == b"+"


def test_tensorrt_rtx_is_given_no_timing_cache(disk, monkeypatch):
    monkeypatch.setattr(caches, "find_gpus", lambda: pytest.fail("a build must not ask for a GPU"))
    config = BuilderConfig()
    assert build(Flavour("tensorrt_rtx", "1.7", None), disk, config) is None
    assert config.cache is None
