import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgts_trt.machine.files import replace_file


@pytest.fixture(params=[0o022, 0o077])
def ordinary_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


@pytest.mark.parametrize("sync", [False, True])
def test_the_new_file_takes_the_old_ones_place(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "record.json"
    for text in ("first", "second"):
        with replace_file(path, sync=sync) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [ValueError("in the middle"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path, fault: BaseException) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def write() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half of the n")
            raise fault

    with pytest.raises(type(fault)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_refuses_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), replace_file(path, sync=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "gone" / "record.json") as temporary:
        temporary.write_text("new")


def test_two_writers_at_once_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with replace_file(path) as first, replace_file(path) as second:
        first.write_text("of the first")
        second.write_text("of the second")
        assert first != second
    assert path.read_text() == "of the first"  # it ended last
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_write_at_once_never_show_half(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    code = """
import sys
from pathlib import Path
from mgts_trt.machine.files import replace_file

for _ in range(200):
    with replace_file(Path(sys.argv[1])) as temporary:
        temporary.write_text(sys.argv[2] * 100_000)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 100_000, "b" * 100_000}
    assert seen
    assert list(tmp_path.iterdir()) == [path]


def test_its_permissions_are_those_of_any_new_file(tmp_path: Path, ordinary_mode: int) -> None:
    path = tmp_path / "record.json"
    with replace_file(path) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == ordinary_mode


@pytest.mark.parametrize("name", ["x" * 255, "名" * 85])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path, name: str) -> None:
    with replace_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
