"""Pictures the tiny bundle finds people in, and a camera that shows them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from mgts_trt.pictures.image import write_image


def scene(seed: int) -> np.ndarray:
    """Grey, with one to three bright people who look different in each scene; nobody where the seed ends in 9."""
    random = np.random.default_rng(seed)
    image = np.full((64, 96, 3), 60, np.uint8)
    people = 0 if seed % 10 == 9 else int(random.integers(1, 4))
    for cell in random.choice(12, people, replace=False):
        row, column = divmod(int(cell), 6)
        pattern = random.integers(190, 256, (8, 4, 3)).repeat(4, 0).repeat(4, 1)
        image[row * 32 : row * 32 + 32, column * 16 : column * 16 + 16] = pattern
    return image


def write_scenes(folder: Path, seeds: range) -> list[Path]:
    """NNNN.png for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04}.png" for seed in seeds]
    for path, seed in zip(paths, seeds, strict=True):
        write_image(path, scene(seed))
    return paths


def write_video(path: Path, seeds: range, codec: str = "MJPG") -> None:
    """A scene a frame, 10 frames a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (96, 64))
    for seed in seeds:
        writer.write(scene(seed)[..., ::-1])
    writer.release()


class Camera:
    """Motion JPEG over HTTP that breaks off after some frames, time and again.

    Attributes:
        url: Where it is.
        connections: How often it was opened.
        sent: Frames in all.
    """

    def __init__(self, frames: int, pause: float) -> None:
        self.connections = self.sent = 0
        camera = self
        pictures = [cv2.imencode(".jpg", scene(seed))[1].tobytes() for seed in range(8)]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                try:
                    for number in range(frames):
                        data = pictures[number % len(pictures)]
                        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        camera.sent += 1
                        time.sleep(pause)
                except OSError:  # the viewer has gone
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/live"


@contextmanager
def camera(frames: int = 10**9, pause: float = 0.01) -> Iterator[Camera]:
    """A camera that runs."""
    running = Camera(frames, pause)
    threading.Thread(target=running.server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()


@contextmanager
def silent_camera() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A camera that answers with a head and no more: its URL, whether it was asked, and what makes it hang up."""
    asked, go = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            asked.set()
            go.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live", asked, go
    finally:
        go.set()
        server.shutdown()
        server.server_close()
