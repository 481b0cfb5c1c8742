"""Cameras on this machine: Motion JPEG over HTTP, of people who come and go, that can be taken down and put up."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from mgts_trt._typing import Image


class LoopbackCamera:
    """Shows pictures in turn, then as long nobody, for ever; no two frames are the same, as of a real camera.

    Args:
        pictures: uint8 [H, W, 3], RGB, of one size.
        rate: Frames a second.

    Attributes:
        url: Where it is.
        sent: Frames in all.
        openings: How often a viewer came while it was up.
    """

    def __init__(self, pictures: Sequence[Image], rate: float) -> None:
        self.sent = self.openings = 0
        self._pictures = [*pictures, *[np.full_like(pictures[0], 90)] * len(pictures)]
        self._rate, self._chance = rate, np.random.default_rng(0)
        self._up = threading.Event()
        self._up.set()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not camera.is_up:
                    self.send_error(503)
                    return
                camera.openings += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                with suppress(OSError):  # the viewer has gone
                    while camera.is_up:
                        data = camera.frame()
                        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        time.sleep(1 / camera._rate)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/live"

    @property
    def is_up(self) -> bool:
        """Whether it serves."""
        return self._up.is_set()

    def frame(self) -> bytes:
        """The next one, as JPEG."""
        picture = self._pictures[self.sent % len(self._pictures)].copy()
        self.sent += 1
        picture[:8, :64] = self._chance.integers(0, 256, (8, 64, 3), np.uint8)
        return bytes(cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes())

    def put_up(self) -> None:
        """Serve again."""
        self._up.set()

    def take_down(self) -> None:
        """Break off what is being served, and refuse who comes."""
        self._up.clear()


@contextmanager
def loopback_cameras(count: int, pictures: Sequence[Image], rate: float) -> Iterator[list[LoopbackCamera]]:
    """So many of them, which begin at different pictures."""
    cameras = [
        LoopbackCamera([*pictures[i % len(pictures) :], *pictures[: i % len(pictures)]], rate) for i in range(count)
    ]
    servers = [camera._server for camera in cameras]
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield cameras
    finally:
        for camera, server in zip(cameras, servers, strict=True):
            camera.take_down()
            server.shutdown()
            server.server_close()
