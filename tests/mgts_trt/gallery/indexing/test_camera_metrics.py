import socket
import urllib.request
from pathlib import Path

import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.camera_metrics import exposed
from mgts_trt.gallery.indexing.cameras import Cameras
from mgts_trt.gallery.indexing.sources import Source

pytest.importorskip("prometheus_client")

LABELS = '{camera="a \\"door\\"",source="rtsp://10.0.0.4/live"}'


@pytest.fixture
def cameras() -> Cameras:
    """One that came back once."""
    cameras = Cameras()
    door = cameras.add(Source("rtsp://zoe:s3cret@10.0.0.4/live", "stream", 'a "door"'))
    door.up(100.0)
    door.took(5, 2)
    door.down("It broke.")
    door.up(200.5)
    return cameras


def require_told(text: str) -> None:
    assert f"mgts_camera_up{LABELS} 1.0" in text
    assert f"mgts_camera_last_frame_timestamp_seconds{LABELS} 200.5" in text
    assert f"mgts_camera_frames_taken_total{LABELS} 5.0" in text
    assert f"mgts_camera_frames_dropped_total{LABELS} 2.0" in text
    assert f"mgts_camera_restarts_total{LABELS} 1.0" in text
    assert "s3cret" not in text


def test_in_a_file_that_is_up_to_date_at_the_end(cameras: Cameras, tmp_path: Path) -> None:
    path = tmp_path / "mgts.prom"
    with exposed(cameras, str(path)):
        require_told(path.read_text())
        cameras.add(Source("rtsp://10.0.0.5/live", "stream"))
    assert 'mgts_camera_up{camera="",source="rtsp://10.0.0.5/live"} 0.0' in path.read_text()


def test_over_http(cameras: Cameras) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        exposed(cameras, str(port)),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer,
    ):
        require_told(answer.read().decode())


def test_where_it_cannot_be_told(cameras: Cameras, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for where in (str(server.getsockname()[1]), str(tmp_path / "none" / "x.prom"), "99999"):
            with pytest.raises(MgtsError, match="Metrics cannot be told"), exposed(cameras, where):
                pass
