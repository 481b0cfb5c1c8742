import errno
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mgts_trt.access import audit_log
from mgts_trt.access.audit_check import check_log, read_log
from mgts_trt.access.audit_log import AuditLog, log_files, read_head
from mgts_trt.errors import AuditError

WHO = {"by": "key", "name": "desk"}


def fill(folder: Path, count: int, **options: int) -> AuditLog:
    log = AuditLog(folder, **options)
    for i in range(count):
        log.record(WHO, "search", rows=i)
    return log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_entries_are_a_chain(folder: Path) -> None:
    log = fill(folder, 3)
    log.record(
        {"by": "user", "name": "me"}, "forget", subjects={"source": ["/pictures/anna.jpg"]}, sync=True, rows=None
    )
    entries = list(read_log(folder))
    assert [(entry.number, entry.fields["what"]) for entry in entries] == [
        (1, "search"), (2, "search"), (3, "search"), (4, "forget")
    ]  # fmt: skip
    assert [entry.before for entry in entries] == ["0" * 64, *(entry.hash for entry in entries[:-1])]
    assert entries[3].fields["marks"] == {"source": [log.mark("/pictures/anna.jpg")]}
    assert "rows" not in entries[3].fields
    assert not any(b"anna" in path.read_bytes() for path in folder.iterdir())
    assert AuditLog(folder).mark("x") == log.mark("x") != AuditLog(folder).mark("y")
    report = check_log(folder)
    assert (report.entries, report.faults, report.notes, report.last) == (4, [], [], (4, entries[3].hash))


@pytest.mark.parametrize("umask", [0, 0o022])
def test_the_log_is_its_owners_alone(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        fill(folder, 20, most_bytes=500)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) > 6


def test_files_follow_each_other(folder: Path) -> None:
    fill(folder, 50, most_bytes=1000)
    files = log_files(folder)
    assert len(files) > 5
    assert all(path.stat().st_size < 1400 for path in files)
    report = check_log(folder)
    assert (report.entries, report.faults, report.files) == (50, [], len(files))


def _write_many(folder: Path, name: str) -> None:
    log = AuditLog(folder, most_bytes=4000)
    threads = [
        threading.Thread(target=lambda: [log.record({"by": name}, "search") for _ in range(10)]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_several_processes_and_threads_append(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(folder, f"p{i}")) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    report = check_log(folder)
    assert (report.entries, report.faults, report.notes) == (90, [], [])


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("with_head", [False, True], ids=["head of before", "head of after"])
def test_a_writer_that_is_killed_at_any_byte_of_an_entry(folder: Path, rotated: bool, with_head: bool) -> None:
    """Killed before the head is written; or, as after a power cut, the head is on the disk and the entry is not."""
    most = 100 if rotated else 1 << 20
    fill(folder, 3, most_bytes=most)
    before = (folder / "head").read_bytes()
    fill(folder, 1, most_bytes=most)
    whole, last = folder.with_name("whole"), log_files(folder)[-1].name
    folder.rename(whole)
    if not with_head:
        (whole / "head").write_bytes(before)
    data = (whole / last).read_bytes()
    start = 0 if rotated else data[:-1].rfind(b"\n") + 1
    for cut in [*range(start, len(data), 13), len(data) - 1, len(data)]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        (folder / last).write_bytes(data[:cut])
        told = check_log(folder)
        torn, there = start < cut < len(data) - 1, cut >= len(data) - 1
        assert bool(told.notes) == torn, (cut, told)
        fill(folder, 2, most_bytes=most)
        report = check_log(folder)
        lost = with_head and not there
        assert [("missing" in fault) for fault in report.faults] == [True] * lost, (cut, report)
        assert bool(report.notes) == torn, (cut, report)
        assert list(read_log(folder))[-1].fields["rows"] == 1
        assert report.entries == 3 + there + 2 + (torn or lost)


WRITER = """
import sys
from pathlib import Path
from mgts_trt.access.audit_log import AuditLog

log = AuditLog(Path(sys.argv[1]), most_bytes=3000)
while True:
    print(log.record({"by": "key"}, "search"), flush=True)
"""


def test_writers_that_are_killed_lose_nothing_that_was_recorded(folder: Path) -> None:
    recorded = 0
    for _ in range(2):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for count, writer in enumerate(writers, 20):
            for _ in range(count):
                recorded = max(recorded, int(writer.stdout.readline()))
            writer.kill()
        for writer in writers:
            writer.wait()
            rest = writer.stdout.read().splitlines()
            recorded = max([recorded, *(int(line) for line in rest[:-1])])
            writer.stdout.close()
    fill(folder, 1, most_bytes=3000)
    report = check_log(folder)
    assert report.faults == []
    assert report.entries >= recorded >= 60


@pytest.mark.parametrize("harm", ["remove", "garbage", "empty"])
def test_a_head_that_is_gone_is_told_and_made_anew(folder: Path, harm: str) -> None:
    fill(folder, 3)
    if harm == "remove":
        (folder / "head").unlink()
    else:
        (folder / "head").write_bytes(b"" if harm == "empty" else b'{"number":"x"')
    assert "head is missing or damaged" in str(check_log(folder).faults)
    fill(folder, 1)
    report = check_log(folder)
    assert [("head was missing" in fault) for fault in report.faults] == [True]
    assert report.entries == 5
    assert read_head(folder).number == 5


@pytest.mark.parametrize("written", [0, 1, 50])
def test_a_full_disk_leaves_nothing_half_written(folder: Path, written: int, monkeypatch) -> None:
    log = fill(folder, 2)
    before, real = log_files(folder)[0].read_bytes(), os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > 100 and written:
            return real(descriptor, data[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audit_log.os, "write", write)
    with pytest.raises(AuditError, match="No space left on device"):
        log.record(WHO, "x" * (100 - written))
    monkeypatch.setattr(audit_log.os, "write", real)
    assert log_files(folder)[0].read_bytes() == before
    log.record(WHO, "search")
    report = check_log(folder)
    assert (report.entries, report.faults, report.notes) == (3, [], [])


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be recorded"):
        AuditLog(tmp_path / "file" / "log").record(WHO, "search")


def test_lines_are_json(folder: Path) -> None:
    log = AuditLog(folder)
    log.record({"by": "key", "name": 'a"\n\u2028ü'}, "search", rows=3, probes=["0" * 64])
    (line,) = log_files(folder)[0].read_bytes().splitlines()
    told = json.loads(line)
    assert (told["who"]["name"], told["rows"], told["n"]) == ('a"\n\u2028ü', 3, 1)
    assert told["time"].endswith("+00:00")
