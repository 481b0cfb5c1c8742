from collections.abc import Callable
from pathlib import Path

import pytest

from mgts_trt.access.audit_check import check_log, read_log
from mgts_trt.access.audit_log import AuditLog, log_files
from mgts_trt.errors import AuditError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "log", most_bytes=1000)
    for i in range(20):
        log.record({"by": "key", "name": "desk"}, "search", rows=i)
    return tmp_path / "log"


def edit(at: int, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        path = log_files(folder)[at]
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return change_file


HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a number changed": (edit(1, lambda ls: [ls[0].replace(b'"rows":', b'"rows":1'), *ls[1:]]), "was changed"),
    "a line removed": (edit(1, lambda ls: [ls[0], *ls[2:]]), "missing before"),
    "lines exchanged": (edit(1, lambda ls: [ls[1], ls[0], *ls[2:]]), "missing before"),
    "a line twice": (edit(1, lambda ls: [ls[0], *ls]), "there are two of"),
    "a line of junk": (edit(1, lambda ls: [b"junk\n", *ls]), "was changed"),
    "the end cut off": (edit(-1, lambda ls: ls[:-1]), "missing at the end"),
    "the last file removed": (lambda folder: log_files(folder)[-1].unlink(), "missing at the end"),
    "the first file removed": (lambda folder: log_files(folder)[0].unlink(), "entries 1 to"),
    "a middle file removed": (lambda folder: log_files(folder)[2].unlink(), "missing before"),
    "the head removed": (lambda folder: (folder / "head").unlink(), "head is missing"),
    "all but the head removed": (lambda folder: [p.unlink() for p in log_files(folder)], "1 to 20 are missing"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_was_done_to_a_log_is_told(folder: Path, harm: str) -> None:
    assert check_log(folder).faults == []
    act, told = HARMS[harm]
    act(folder)
    assert any(told in fault for fault in check_log(folder).faults), check_log(folder)
    AuditLog(folder, most_bytes=1000).record({"by": "key"}, "search")
    assert check_log(folder).faults, "what is added later hides nothing"


def test_any_bit_that_is_turned_is_found(folder: Path) -> None:
    path = log_files(folder)[1]
    data = path.read_bytes()
    for place in range(0, len(data), 17):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert check_log(folder).faults, place


def test_a_noted_entry_proves_what_a_whole_new_log_cannot(folder: Path) -> None:
    noted = check_log(folder).last
    assert check_log(folder, expected=noted).faults == []
    made_up = AuditLog(folder.with_name("other"))
    for i in range(25):
        made_up.record({"by": "key", "name": "desk"}, "search", rows=i)
    assert check_log(made_up.folder).faults == []
    assert "another than was noted" in str(check_log(made_up.folder, expected=noted).faults)
    assert "noted, is not there" in str(check_log(folder, expected=(21, "0" * 64)).faults)


def test_old_files_may_be_removed_by_who_says_so(folder: Path) -> None:
    log_files(folder)[0].unlink()
    first = next(read_log(folder)).number
    assert check_log(folder, begins=first).faults == []
    assert check_log(folder, begins=first - 1).faults


def test_where_there_is_no_log(tmp_path: Path) -> None:
    for act in (lambda: check_log(tmp_path / "none"), lambda: list(read_log(tmp_path))):
        with pytest.raises(AuditError, match="There is no log"):
            act()
