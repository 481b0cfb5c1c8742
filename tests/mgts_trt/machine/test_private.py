import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mgts_trt.machine import private
from mgts_trt.machine.private import keep_private, make_private


@contextmanager
def umask(mode: int) -> Iterator[None]:
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()}


def fill(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True, exist_ok=True)
    for name in ("x", "a/x", "a/b/x"):
        (folder / name).write_text("")


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_what_is_made_later_is_private(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        make_private(tmp_path / "more" / "folder")
        fill(tmp_path / "more" / "folder")
    assert modes(tmp_path / "more" / "folder") == {0o700, 0o600}


@pytest.mark.parametrize("lists", [True, False])
def test_what_is_there_is_mended(tmp_path: Path, lists: bool, monkeypatch) -> None:
    if not lists:
        monkeypatch.setattr(
            private, "_LIST", "user.none.such"
        )  # which the kernel refuses, as a disk without lists does
        monkeypatch.setattr(os, "setxattr", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    with umask(0):
        fill(tmp_path / "g")
        outside = tmp_path / "outside"
        outside.write_text("")
        (tmp_path / "g/link").symlink_to(outside)
        keep_private(tmp_path / "g")
        assert modes(tmp_path / "g") == {0o700, 0o600}
        fill(tmp_path / "g/later")
        keep_private(tmp_path / "g")
    assert modes(tmp_path / "g") == {0o700, 0o600}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o666


def test_a_private_folder_is_not_walked_again(tmp_path: Path, monkeypatch) -> None:
    make_private(tmp_path / "g")
    monkeypatch.setattr(os, "walk", lambda *_: pytest.fail("walked"))
    keep_private(tmp_path / "g")


def test_what_cannot_be_changed_stays(tmp_path: Path, monkeypatch) -> None:
    with umask(0):
        fill(tmp_path / "g")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    keep_private(tmp_path / "g")
    keep_private(tmp_path / "none")
    assert 0o666 in modes(tmp_path / "g")


def test_a_file_is_its_owners_alone_and_none_is_taken_for_a_folder(tmp_path: Path) -> None:
    with umask(0o022):
        fill(tmp_path)
    keep_private(tmp_path / "x")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "a/x")
    assert stat.S_IMODE((tmp_path / "a/x").stat().st_mode) == 0o644
