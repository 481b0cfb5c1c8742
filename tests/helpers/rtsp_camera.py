"""A camera on the network: an RTSP 1.0 server (RFC 2326) of H.264, which can be made to fail as cameras do."""

import base64
import random
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import md5
from itertools import count
from typing import BinaryIO, NamedTuple

import numpy as np

from tests.helpers.h264 import Encoder, RtpPackets, Size, numbered, parameters

REALM, NONCE = "camera", "5f1c0a"


class Asked(NamedTuple):
    """A request."""

    method: str
    url: str
    headers: dict[str, str]
    """By name in small letters."""


class RtspCamera:
    """Frames are numbered through all players and restarts, and show their number, see `number_of`.

    Args:
        size: Of its pictures.
        rate: Frames a second.
        login: User name and password.
        scheme: How the login is asked for: `Basic` or `Digest`.
        transports: Of `tcp` and `udp`; the others are refused with 461.
        loss: Share of the packets over UDP that get lost, but for the first frame's.
        picture: What it sees, by number and size.
        session: Seconds after which a player that is not heard of is dropped.
        key: From one key frame to the next, in frames.
        in_band: Whether parameter sets come before each key frame; else its description alone tells them.

    Attributes:
        size: Of its pictures from the next key frame on; may be set at any moment.
        password: May be set at any moment, for those who come then.
        stalled: While it is set no frame is sent, and connections stay open.
        asked: All requests, of all restarts.
        sent: Frames.
        used: Transport of each player.
        refusal: Status of every DESCRIBE whose login is right, where it is set.
    """

    def __init__(
        self,
        size: Size = (160, 120),
        rate: float = 100.0,
        login: tuple[str, str] | None = None,
        scheme: str = "Digest",
        transports: tuple[str, ...] = ("tcp", "udp"),
        loss: float = 0.0,
        picture: Callable[[int, Size], np.ndarray] = numbered,
        session: int = 60,
        key: int = 10,
        in_band: bool = True,
    ) -> None:
        self.size, self.rate, self.key, self.in_band = size, rate, key, in_band
        self.user, self.password = login or ("", "")
        self.picture = picture
        self.stalled = threading.Event()
        self.asked: list[Asked] = []
        self.used: list[str] = []
        self.sent = 0
        self.refusal: str | None = None
        self.login, self.scheme, self.transports, self.loss, self.session = login, scheme, transports, loss, session
        self.clock = time.monotonic()
        self.numbers = count()
        self._port = 0
        self._server: socket.socket | None = None
        self._connections: set[_Connection] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Without login."""
        return f"rtsp://127.0.0.1:{self._port}/live"

    def url_of(self, user: str, password: str) -> str:
        """With a login, as it stands in a URL."""
        return self.url.replace("//", f"//{user}:{password}@")

    def start(self) -> None:
        """Serve; at the same port as before if it was killed."""
        self._server = socket.create_server(("127.0.0.1", self._port))
        self._port = self._server.getsockname()[1]
        self._run(self._accept, self._server)

    def kill(self) -> None:
        """As when its power fails: all connections break off, and nobody answers."""
        if self._server:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10)
        self._threads.clear()

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, name="camera", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                there, _ = server.accept()
            except OSError:
                return
            connection = _Connection(self, there)
            with self._lock:
                self._connections.add(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: "_Connection") -> None:
        try:
            connection.serve()
        finally:
            connection.close()
            with self._lock:
                self._connections.discard(connection)


@contextmanager
def rtsp_camera(size: Size = (160, 120), **how: object) -> Iterator[RtspCamera]:
    """A camera that runs, see `RtspCamera`."""
    camera = RtspCamera(size, **how)  # type: ignore[arg-type]
    camera.start()
    try:
        yield camera
    finally:
        camera.kill()


class _Connection:
    """One of a camera's connections, and its player."""

    def __init__(self, camera: RtspCamera, there: socket.socket) -> None:
        self._camera, self._there, self._file = camera, there, there.makefile("rb")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._send: Callable[[bytes], object] | None = None
        self._udp: list[socket.socket] = []
        self._player: threading.Thread | None = None

    def close(self) -> None:
        self._ended.set()
        with suppress(OSError):
            self._there.shutdown(socket.SHUT_RDWR)
        if self._player and self._player is not threading.current_thread():
            self._player.join(10)
        self._there.close()
        for each in self._udp:
            each.close()

    def serve(self) -> None:
        """Answer until the connection ends."""
        with suppress(OSError, ValueError), self._file:
            self._there.settimeout(self._camera.session)
            while not self._ended.is_set() and (request := _request(self._file)):
                self._camera.asked.append(request)
                self._answer(request)

    def _answer(self, request: Asked) -> None:
        camera = self._camera
        if request.method == "OPTIONS":
            return self._reply(request, "200 OK", "Public: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        if camera.login and not self._is_let_in(request):
            return self._reply(request, "401 Unauthorized", f"WWW-Authenticate: {self._challenge()}")
        if not request.url.removesuffix("/").endswith(("/live", "/live/video")):
            return self._reply(request, "404 Not Found")
        if request.method == "DESCRIBE":
            if camera.refusal:
                return self._reply(request, camera.refusal)
            return self._reply(request, "200 OK", "Content-Type: application/sdp", body=self._description())
        if request.method == "SETUP":
            return self._set_up(request)
        self._reply(request, "200 OK", f"Session: 12;timeout={camera.session}")
        if request.method == "PLAY":
            self._player = threading.Thread(target=self._play, name="camera", daemon=True)
            self._player.start()
        elif request.method == "TEARDOWN":
            self._ended.set()
        return None

    def _reply(self, request: Asked, status: str, *headers: str, body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', 0)}", *headers]
        text = "\r\n".join([*lines, *([f"Content-Length: {len(body)}"] if body else []), "", body])
        with self._lock:
            self._there.sendall(text.encode())

    def _challenge(self) -> str:
        nonce = f', nonce="{NONCE}", algorithm=MD5' if self._camera.scheme == "Digest" else ""
        return f'{self._camera.scheme} realm="{REALM}"{nonce}'

    def _is_let_in(self, request: Asked) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        login = f"{self._camera.user}:{self._camera.password}"
        if scheme != self._camera.scheme:
            return False
        if scheme == "Basic":
            return given == base64.b64encode(login.encode()).decode()
        told = urllib.request.parse_keqv_list(urllib.request.parse_http_list(given))
        user, _, password = login.partition(":")
        first = _md5(f"{user}:{REALM}:{password}")
        second = _md5(f"{request.method}:{told.get('uri')}")
        wanted = _md5(f"{first}:{NONCE}:{second}")
        return (told.get("username"), told.get("response")) == (user, wanted)

    def _description(self) -> str:
        sps, pps = parameters(self._camera.size, self._camera.rate)
        sets = ",".join(base64.b64encode(each).decode() for each in (sps, pps))
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=live", "c=IN IP4 0.0.0.0", "t=0 0", "a=range:npt=now-"]
        lines += ["m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=control:video"]
        lines += [f"a=fmtp:96 packetization-mode=1;profile-level-id={sps[1:4].hex()};sprop-parameter-sets={sets}", ""]
        return "\r\n".join(lines)

    def _set_up(self, request: Asked) -> None:
        for transport in request.headers.get("transport", "").split(","):
            over = "tcp" if "/TCP" in transport else "udp"
            if over not in self._camera.transports or "multicast" in transport:
                continue
            self._camera.used.append(over)
            if over == "tcp":
                self._send, told = self._send_in_band, "RTP/AVP/TCP;unicast;interleaved=0-1"
            else:
                port = int(transport.partition("client_port=")[2].partition("-")[0])
                self._udp = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
                for each in self._udp:
                    each.bind(("127.0.0.1", 0))
                self._udp[0].connect(("127.0.0.1", port))
                self._send = self._send_datagram
                ports = "-".join(str(each.getsockname()[1]) for each in self._udp)
                told = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={ports}"
            return self._reply(request, "200 OK", f"Transport: {told}", f"Session: 12;timeout={self._camera.session}")
        return self._reply(request, "461 Unsupported Transport")

    def _send_in_band(self, packet: bytes) -> None:
        with self._lock:
            self._there.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)

    def _send_datagram(self, packet: bytes) -> None:
        with suppress(ConnectionRefusedError):  # nobody listens any more
            self._udp[0].send(packet)

    def _play(self) -> None:
        """Encode and send, at the camera's rate, until the connection ends."""
        camera, packets, chance = self._camera, RtpPackets(), random.Random(0)
        size, encoder, frames = (0, 0), None, 0
        assert self._send is not None
        while not self._ended.wait(1 / camera.rate):
            if camera.stalled.is_set():
                continue
            if encoder is None or size != camera.size:
                size = camera.size
                encoder = Encoder(size, camera.rate, camera.key)
            units = encoder.units(camera.picture(next(camera.numbers), size))
            units = [unit for unit in units if camera.in_band or unit[0] & 31 not in (7, 8)]
            try:
                for packet in packets.of(units, time.monotonic() - camera.clock):
                    if self._udp and frames and chance.random() < camera.loss:
                        continue
                    self._send(packet)
            except OSError:
                return
            frames += 1
            camera.sent += 1


def _request(file: BinaryIO) -> Asked | None:
    """The next request, None at the end; what a player tells in between of what it received is passed over."""
    while (first := file.read(1)) == b"$":
        file.read(int.from_bytes(file.read(3)[1:], "big"))
    words = (first + file.readline()).decode().split()
    if len(words) < 3:
        return None
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    file.read(int(headers.get("content-length", 0)))
    return Asked(words[0], words[1], headers)


def _md5(text: str) -> str:
    return md5(text.encode()).hexdigest()
