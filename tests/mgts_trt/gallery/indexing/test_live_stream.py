import sys
from itertools import pairwise

import pytest

from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.diagnosis import Silence
from mgts_trt.gallery.indexing.live_stream import Broken, Stalled, stream_frames
from tests.helpers.h264 import number_of
from tests.helpers.read_frames import read_frames
from tests.helpers.rtsp_camera import RtspCamera, rtsp_camera

TRANSPORTS = ("tcp", "udp")


def why(url: str, **how: object) -> Silence:
    """Why it cannot be opened."""
    frames, end = read_frames(stream_frames(url, 5.0, **how), 1)  # type: ignore[arg-type]
    assert not frames
    assert isinstance(end, Silence)
    return end


def logins(camera: RtspCamera) -> int:
    """How often a login was tried."""
    return sum(one.method == "DESCRIBE" and "authorization" in one.headers for one in camera.asked)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_frame_comes_in_order(transport: str) -> None:
    with rtsp_camera() as camera:
        frames, end = read_frames(stream_frames(camera.url, transport=transport), 30)
    assert end is None
    assert camera.used == [transport]
    assert {frame.shape for frame in frames} == {(120, 160, 3)}
    assert all(b - a == 1 for a, b in pairwise(map(number_of, frames)))


def test_a_camera_without_tcp_sends_datagrams() -> None:
    with rtsp_camera(transports=("udp",)) as camera:
        frames, _ = read_frames(stream_frames(camera.url), 3)
    assert camera.used == ["udp"]
    assert len(frames) == 3


def test_a_camera_without_udp_says_so() -> None:
    with rtsp_camera(transports=("tcp",)) as camera:
        assert "choose the other with --rtsp-transport" in why(camera.url, transport="udp").why


def test_lost_datagrams_end_nothing() -> None:
    with rtsp_camera(loss=0.1) as camera:
        frames, end = read_frames(stream_frames(camera.url, transport="udp"), 40)
    assert end is None
    assert {frame.shape for frame in frames} == {(120, 160, 3)}


@pytest.mark.parametrize("size", [(320, 240), (96, 72)])
def test_a_resolution_that_changes_in_mid_stream(size: tuple[int, int]) -> None:
    with rtsp_camera() as camera:
        frames, end = read_frames(
            stream_frames(camera.url), 40, lambda count: setattr(camera, "size", size if count >= 5 else (160, 120))
        )
    assert end is None
    sizes = [frame.shape[1::-1] for frame in frames]
    assert sizes.count(size) > 10
    assert sizes == sorted(sizes, reverse=size < (160, 120)), "first all of the old size, then all of the new"
    assert all(b - a == 1 for a, b in pairwise(map(number_of, frames))), "none is scaled: each shows its number"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stall(transport: str) -> None:
    with rtsp_camera() as camera:
        frames, end = read_frames(stream_frames(camera.url, 1.0, transport), 10**6, lambda _: camera.stalled.set())
    assert frames
    assert isinstance(end, Stalled)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_camera_that_is_killed(transport: str) -> None:
    with rtsp_camera() as camera:
        frames, end = read_frames(stream_frames(camera.url, transport=transport), 10**6, lambda _: camera.kill())
        assert frames
        assert isinstance(end, Broken)
        assert why(camera.url).why == "nobody answers there (connection refused)"


def test_a_slow_camera_is_not_looked_at_for_long() -> None:
    with rtsp_camera(rate=4.0) as camera:
        frames, _ = read_frames(stream_frames(camera.url), 1)
        sent = camera.sent
    assert frames
    assert sent < 12, "at two frames a second thirty would take longer than anybody waits"


def test_a_camera_hears_that_somebody_still_watches() -> None:
    with rtsp_camera(session=2) as camera:
        for _ in stream_frames(camera.url):
            if camera.asked[-1].method in ("GET_PARAMETER", "OPTIONS") and len(camera.asked) > 3:
                break
        else:
            pytest.fail("it was dropped")


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
@pytest.mark.parametrize("password", ["s3cret", "s3%2Fcret", "s3%40:c%3Aret", "s3+cret", "s3%20cret", "s3%C3%A9cret"])
def test_a_login(scheme: str, password: str) -> None:
    plain = password.replace("%2F", "/").replace("%40", "@").replace("%3A", ":").replace("%20", " ")
    with rtsp_camera(login=("zoe", plain.replace("%C3%A9", "é")), scheme=scheme) as camera:
        frames, _ = read_frames(stream_frames(camera.url_of("zoe", password)), 1)
        assert frames
        camera.password = "other"
        before = logins(camera)
        assert why(camera.url_of("zoe", password)) == Silence("its user name or password is wrong", True)
        assert logins(camera) == before + 1, "a camera that locks after wrong passwords is asked once"
        assert why(camera.url) == Silence("it wants a user name and a password", True)


@pytest.mark.parametrize("login", ["", "zoe:s3cret"])
@pytest.mark.parametrize(
    ("status", "told", "refused"),
    [
        ("403 Forbidden", "does not let this user in", True),
        ("404 Not Found", "there is nothing of this path", False),
        ("453 Not Enough Bandwidth", "too many viewers", False),
        ("503 Service Unavailable", "out of order", False),
    ],
)
def test_what_a_camera_answers_is_told_whoever_asks(login: str, status: str, told: str, refused: bool) -> None:
    user, _, password = login.partition(":")
    with rtsp_camera(login=(user, password) if login else None) as camera:
        camera.refusal = status
        end = why(camera.url_of(user, password) if login else camera.url)
    assert told in end.why
    assert end.refused == refused


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"rtsp://camera/1 is a live stream.*pip install 'mgts-trt\[video\]'") as told:
        next(stream_frames("rtsp://zoe:s3cret@camera/1"))
    assert "s3cret" not in str(told.value)
