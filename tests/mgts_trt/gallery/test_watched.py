import json
import signal
import subprocess
import sys
from pathlib import Path

from mgts_trt.gallery.watched import forget_killed, is_watched, told_beside, watched
from tests.helpers.paths import ROOT

DOOR, YARD = (
    {"source": "rtsp://10.0.0.4/live", "standing": "up"},
    {"source": "rtsp://10.0.0.5/live", "standing": "down"},
)

_WATCH = """
import sys, time
from mgts_trt.gallery.watched import told_beside
with told_beside(sys.argv[1], lambda: [{"source": "rtsp://10.0.0.4/live", "standing": "up"}]):
    print("here", flush=True)
    time.sleep(600)
"""


def test_streams_are_told_while_they_are_watched(tmp_path: Path) -> None:
    assert watched(tmp_path) == []
    with told_beside(tmp_path, lambda: [YARD, DOOR]), told_beside(tmp_path, list):
        assert [(each.state, each.running) for each in watched(tmp_path)] == [(DOOR, True), (YARD, True)]
        assert is_watched(tmp_path, DOOR["source"])
        assert not is_watched(tmp_path, "rtsp://10.0.0.6/live")
    assert watched(tmp_path) == []
    assert not is_watched(tmp_path, DOOR["source"])
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_who_was_killed_is_told_from_who_is_at_work(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _WATCH, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        assert [(each.running, each.process) for each in watched(tmp_path)] == [(True, process.pid)]
        process.send_signal(signal.SIGKILL)
    assert [(each.state, each.running) for each in watched(tmp_path)] == [(DOOR, False)]
    assert not is_watched(tmp_path, DOOR["source"])
    with told_beside(tmp_path, lambda: [DOOR]):
        forget_killed(tmp_path)
        assert [each.running for each in watched(tmp_path)] == [True]
    with told_beside(tmp_path, lambda: [YARD]):
        assert [each.state for each in watched(tmp_path)] == [YARD]


def test_what_cannot_be_read_is_nobody(tmp_path: Path) -> None:
    with told_beside(tmp_path, lambda: [DOOR]):
        (file,) = (tmp_path / "watched").glob("*.json")
        for text in ("", "{", json.dumps([{"camera": "x"}])):
            file.write_text(text)
            assert watched(tmp_path) == []


def test_a_gallery_in_a_bucket_tells_nothing() -> None:
    with told_beside("s3://bucket/gallery", lambda: [DOOR]):
        assert watched("s3://bucket/gallery") == []
