import subprocess
import sys
import threading

import pytest

from mgts_trt.gallery.disk.writers import Guard

HOLDER = """
import sys
from pathlib import Path
from mgts_trt.gallery.disk.writers import Guard
with getattr(Guard(Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts another process that holds a lock until it is killed."""
    started = []

    def start(how: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_writers_share_and_who_erases_is_alone(tmp_path, holder) -> None:
    guard = Guard(tmp_path)
    writer = holder("shared")
    with guard.shared(), guard.shared():
        assert guard.held
    assert not guard.held
    with guard.alone(wait=False) as alone:
        assert not alone
    writer.kill()
    writer.wait()
    with guard.alone() as alone, guard.alone() as still, guard.shared():
        assert (alone, still) == (True, True)


def test_no_writer_begins_while_somebody_is_alone(tmp_path, holder) -> None:
    eraser = holder("alone")
    written = threading.Event()

    def write() -> None:
        with Guard(tmp_path).shared():
            written.set()

    thread = threading.Thread(target=write)
    thread.start()
    with Guard(tmp_path).alone(wait=False) as alone:
        assert not alone
    assert not written.is_set()
    eraser.kill()
    thread.join()
    assert written.is_set()


def test_a_writer_cannot_be_alone(tmp_path) -> None:
    with Guard(tmp_path).shared(), pytest.raises(RuntimeError, match="beside others"), Guard(tmp_path).alone():
        pass


def test_what_is_no_folder_has_no_locks(tmp_path) -> None:
    with Guard(None).alone(), Guard(None).shared():
        assert list(tmp_path.iterdir()) == []
