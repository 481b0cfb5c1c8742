"""A real `mgts-trt serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np

from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle


class Running:
    """The process and how to reach it."""

    def __init__(self, process: subprocess.Popen, url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log
        self.host, self.port = "127.0.0.1", int(url.rpartition(":")[2])

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def rss(self) -> float:
        """MiB of memory in use."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def serving(
    folder: Path, *options: object, bundle: Path | None = None, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """Start it in `folder`, on a port that is free, with a bundle or the tiny one; end it if it still runs.

    At the end its log must hold no traceback: every answer 500 leaves one there.
    """
    bundle = bundle or make_tiny_bundle(folder / "bundle")
    log = folder / "log.txt"
    command = [sys.executable, "-m", "mgts_trt", "serve", "--bundle", bundle, "--port", 0, "--threads", 1, *options]
    with log.open("ab") as written:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
    try:
        line = process.stdout.readline()
        url = re.search(r"http://\S+:\d+", line)
        assert url, f"{line!r} {log.read_text()}"
        yield Running(process, url[0], log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
    assert "Traceback" not in log.read_text(), log.read_text()


def picture(*cells: tuple[int, int], size: int = 1, seed: int = 0) -> bytes:
    """A PNG whose white cells (row, column of the tiny detector's 2 × 6 grid) are people, each with a pattern."""
    image = np.full((64, 96, 3), 60, np.uint8)
    random = np.random.default_rng(seed)
    for row, column in cells:
        image[32 * row : 32 * row + 32, 16 * column : 16 * column + 16] = random.integers(225, 256, (32, 16, 3))
    image = np.kron(image, np.ones((size, size, 1), np.uint8)) if size > 1 else image
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def post(path: str, data: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request as it goes over the wire, with one file in the field image; `length` is what it claims."""
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + data + b"\r\n--b--\r\n"
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: multipart/form-data; boundary=b", *headers]
    head += [f"Content-Length: {len(part) if length is None else length}"] if length != -1 else []
    return "\r\n".join([*head, "", ""]).encode() + part


def status_of(answer: bytes) -> int:
    """Of an answer as it came over the wire; 0 if there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
