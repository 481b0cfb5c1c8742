"""The MQTT broker mosquitto, a gate before it that can be shut, and a subscriber."""

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds until a test gives up."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def passwords(password: str) -> str:
    """Of the user `watcher`, as mosquitto_passwd writes it."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"watcher:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


class Broker:
    """Mosquitto on a port of this machine.

    Args:
        folder: For its files.
        password: Of the user `watcher`; without, anybody may connect.
        lines: Of its configuration.
        whole: A configuration in the place of all this but the port, where it says 1883.
    """

    def __init__(self, folder: Path, password: str = "", lines: str = "", *, whole: str = "") -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("needs the MQTT broker mosquitto, which is not installed here: apt install mosquitto")
        self.port = free_port()
        config = f"listener {self.port} 127.0.0.1\nallow_anonymous {'false' if password else 'true'}\n"
        if os.getuid() == 0:
            config += "user root\n"
        if password:
            (folder / "passwords").write_text(passwords(password))
            config += f"password_file {folder / 'passwords'}\n"
        whole = whole.replace("listener 1883", f"listener {self.port} 127.0.0.1")
        (folder / "mosquitto.conf").write_text(whole or config + lines)
        self._command = [program, "-c", str(folder / "mosquitto.conf")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(int(PATIENCE / 0.05)):
            assert self._process.poll() is None, "mosquitto ended at once"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            threading.Event().wait(0.05)
        pytest.fail("mosquitto does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def broker(folder: Path, password: str = "", lines: str = "") -> Iterator[Broker]:
    mosquitto = Broker(folder, password, lines)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.kill()


class Gate:
    """A port that leads to another while the gate is open, and refuses while it is shut."""

    def __init__(self, to: int) -> None:
        self._to, self.port = to, free_port()
        self._listener: socket.socket | None = None
        self._pairs: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        for each in (self._listener, *self._pairs):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._listener, self._pairs = None, []

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                try:
                    there = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    here.close()
                    continue
                self._pairs += [here, there]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Subscriber:
    """Hears everything.

    Attributes:
        messages: Topic, content and whether it was retained, in order.
    """

    def __init__(self, port: int, password: str = "") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes, bool]] = []
        self._heard, self._there = threading.Condition(), threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if password:
            self._client.username_pw_set("watcher", password)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._there.set()
        self._client.on_message = lambda client, data, message: self._hear(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._there.wait(PATIENCE)

    def _hear(self, message) -> None:
        with self._heard:
            self.messages.append((message.topic, message.payload, message.retain))
            self._heard.notify_all()

    def of(self, topic: str) -> list[bytes]:
        return [content for name, content, _ in list(self.messages) if name == topic]

    def wait_for(self, heard: Callable[[], bool]) -> None:
        with self._heard:
            assert self._heard.wait_for(heard, PATIENCE), f"heard only {self.messages}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def subscriber(port: int, password: str = "") -> Iterator[Subscriber]:
    listening = Subscriber(port, password)
    try:
        yield listening
    finally:
        listening.close()
