import threading

from mgts_trt.gallery.indexing.cameras import Cameras, CameraState, told_in_words, up_of
from mgts_trt.gallery.indexing.sources import Source

DOOR = Source("rtsp://zoe:s3cret@10.0.0.4/live", "stream", "door")


def test_a_camera_that_comes_and_goes() -> None:
    changes: list[tuple[str, bool]] = []
    cameras = Cameras(lambda state, other: changes.append((state.standing, other)))
    door = cameras.add(DOOR)
    (state,) = cameras.states()
    assert (state.standing, state.last_frame, state.name, state.source) == (
        "opening",
        None,
        "door",
        "rtsp://10.0.0.4/live",
    )
    door.down("It cannot be opened: nobody answers there.")
    since = cameras.states()[0].since
    door.down("It cannot be opened: nobody answers there.")
    assert cameras.states()[0].since == since, "it is down since it went down, not since it was last tried"
    door.up(100.0)
    door.took(1, 0)
    door.up(100.5)
    door.took(0, 1)
    (state,) = cameras.states()
    assert (state.standing, state.since, state.last_frame) == ("up", 100.0, 100.5)
    assert (state.taken, state.dropped, state.restarts, state.error) == (1, 1, 0, None), "to come up is no restart"
    door.down("It broke after 2 frames.")
    assert door.up(200.0).error == "It broke after 2 frames."
    (state,) = cameras.states()
    assert (state.restarts, state.since) == (1, 200.0)
    door.ended()
    assert cameras.states()[0].standing == "ended"
    assert [standing for standing, other in changes if other] == ["down", "up", "down", "up", "ended"]


def test_threads_count_together() -> None:
    cameras = Cameras()
    watched = [cameras.add(Source(f"rtsp://camera/{number}", "stream")) for number in range(3)]
    threads = [
        threading.Thread(target=lambda camera=camera: [camera.took(1, 2) for _ in range(500)])
        for camera in watched
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert all(state.dropped == 2 * state.taken for state in cameras.states()), "a state is whole at any moment"
    assert [(state.taken, state.dropped) for state in cameras.states()] == [(1000, 2000)] * 3


def test_in_words() -> None:
    up = CameraState("rtsp://a", "door", "up", 1e9, 1e9 + 5, 1234, 12, 1)
    told = told_in_words(up)
    assert "last frame " in told
    assert told.endswith("1,234 frames taken, 12 dropped, 1 restart")
    down = CameraState("rtsp://a", None, "down", 1e9, None, error="It broke.")
    assert told_in_words(down).endswith("0 frames taken, 0 dropped, 0 restarts; It broke.")
    assert "last frame" not in told_in_words(down)
    assert up_of([up, down]) == 1
