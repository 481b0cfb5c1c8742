"""Alarms through a real broker: killed and started again, with passwords and certificates, and to who comes late."""

import json
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgts_trt.gallery.indexing.cameras import CameraState
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.watching.mqtt import Mqtt
from mgts_trt.watching.mqtt_address import MqttAddress
from mgts_trt.watching.webhook import Webhook
from tests.helpers.mqtt_broker import PATIENCE, Gate, broker, free_port, subscriber
from tests.helpers.paths import ROOT
from tests.helpers.webhook_receiver import receiving

pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'mgts-trt[watch]'")

CAMERAS = (Source("rtsp://10.0.0.4/live", "stream", "door"), Source("rtsp://user:secret@10.0.0.5/live", "stream"))


class Notes:
    """What was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._changed:
            self.told.append(text)
            self._changed.notify_all()

    def wait_for(self, part: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(part in text for text in self.told), PATIENCE), self.told


def mqtt(port: int, *, user: str = "", password: str = "", room: int = 100, notes: Notes | None = None) -> Mqtt:
    address = MqttAddress("127.0.0.1", port, "site/mgts", user)
    return Mqtt(address, password, CAMERAS, on_note=notes or Notes(), room=room, pauses=(1, 1))


def alarm(number: int, source: str = CAMERAS[0].name) -> bytes:
    return json.dumps({"id": f"{number}", "person": "Ann", "source": source, "crop": "…"}).encode()


def test_a_broker_killed_and_started_again_gets_all_that_waited_as_the_webhook_does(tmp_path: Path) -> None:
    notes, alarms = Notes(), [alarm(number) for number in range(5)]
    with broker(tmp_path) as mosquitto, receiving([503]) as receiver:
        gate = Gate(mosquitto.port)
        hook, sender = Webhook(receiver.url, b"key", pauses=(0, 0)), mqtt(gate.port, notes=notes)

        def put(body: bytes) -> None:
            hook.put(body)
            sender.put(body)

        with subscriber(mosquitto.port) as listening:
            put(alarms[0])
            put(alarms[1])
            listening.wait_for(lambda: len(listening.of("site/mgts/alarms")) == 2)
            assert listening.of("site/mgts/alarms") == alarms[:2]
            seen = json.loads(listening.of("site/mgts/cameras/door/seen")[0])
            assert seen == {"event_type": "seen", "id": "0", "person": "Ann", "source": "rtsp://10.0.0.4/live"}
            mosquitto.kill()
            put(alarms[2])  # perhaps before it is known that the broker is gone
            notes.wait_for("trying again")
        put(alarms[3])
        put(alarms[4])
        gate.shut()
        mosquitto.start()
        with subscriber(mosquitto.port) as listening:  # before those alarms can come
            gate.open()
            listening.wait_for(lambda: len(set(listening.of("site/mgts/alarms"))) == 3)
            assert list(dict.fromkeys(listening.of("site/mgts/alarms"))) == alarms[2:]
            sender.close(PATIENCE)
            hook.close(PATIENCE)
            gate.shut()
    assert (sender.delivered, sender.lost) == (hook.delivered, hook.lost) == (5, 0)
    assert list(dict.fromkeys(body for body, _ in receiver.bodies)) == alarms
    assert any("is reached again" in text for text in notes.told)


def test_what_waits_for_a_broker_that_never_comes_is_counted_and_holds_nobody_up() -> None:
    notes = Notes()
    sender = mqtt(free_port(), room=2, notes=notes)
    notes.wait_for("cannot be reached: Connection refused; trying again")
    for number in range(6):
        sender.put(alarm(number))
    assert sender.lost >= 3  # at most one is under way, and two wait
    sender.close(0.0)
    assert (sender.delivered, sender.lost) == (0, 6)
    assert len(notes.told) == 1  # not once an attempt


@pytest.mark.parametrize(
    ("user", "password", "told"),
    [
        ("watcher", "wrong", "Check the user name 'watcher', and the password in $MGTS_MQTT_PASSWORD"),
        ("", "", "Name the user as in USER@HOST/TOPIC"),
        ("watcher", "right", None),
    ],
)
def test_a_password(tmp_path: Path, user: str, password: str, told: str | None) -> None:
    notes = Notes()
    with broker(tmp_path, password="right") as mosquitto:
        sender = mqtt(mosquitto.port, user=user, password=password, notes=notes)
        sender.put(alarm(0))
        if told:
            notes.wait_for(f"refuses the connection: Not authorized. {told}")
        sender.close(0.0 if told else PATIENCE)
    assert (sender.delivered, sender.lost) == ((0, 1) if told else (1, 0))
    assert not any("wrong" in text or "right" in text for text in notes.told)


def test_a_topic_that_is_forbidden_is_told_and_counted(tmp_path: Path) -> None:
    notes = Notes()
    (tmp_path / "acl").write_text("topic readwrite elsewhere/#\n")
    with broker(tmp_path, lines=f"acl_file {tmp_path / 'acl'}\n") as mosquitto:
        sender = mqtt(mosquitto.port, notes=notes)
        sender.put(alarm(0))
        notes.wait_for("refuses what is published: Not authorized")
        sender.close(PATIENCE)
    assert (sender.delivered, sender.lost) == (0, 1)


def test_a_late_subscriber_learns_of_every_camera_and_home_assistant_finds_them(tmp_path: Path) -> None:
    with broker(tmp_path) as mosquitto:
        sender = mqtt(mosquitto.port)
        sender.camera_changed(CameraState(CAMERAS[0].name, "door", "up", since=5.0), True)
        sender.camera_changed(CameraState(CAMERAS[0].name, "door", "down", error="It broke."), False)  # no other
        sender.put(alarm(0))
        other = "rtsp_10_0_0_5_live"
        with subscriber(mosquitto.port) as late:
            late.wait_for(lambda: b"online" in late.of("site/mgts/cameras/door/status"))
            late.wait_for(lambda: bool(late.of("site/mgts/cameras/door/details")))
        with subscriber(mosquitto.port) as late:
            late.wait_for(lambda: len(late.messages) >= 8)
            retained = {topic: content for topic, content, _ in late.messages}
            assert all(kept for _, _, kept in late.messages)  # alarms are not
            assert retained["site/mgts/status"] == retained["site/mgts/cameras/door/status"] == b"online"
            assert retained[f"site/mgts/cameras/{other}/status"] == b"offline"
            assert json.loads(retained["site/mgts/cameras/door/details"])["standing"] == "up"
            found = [json.loads(text) for topic, text in retained.items() if topic.startswith("homeassistant/")]
            topics = {config["state_topic"] for config in found}
            bases = [f"site/mgts/cameras/{name}" for name in ("door", other)]
            assert topics == {f"{base}/{kind}" for base in bases for kind in ("status", "seen")}
            assert not any(b"secret" in text for text in retained.values())
            sender.close(PATIENCE)
            for topic in ("status", "cameras/door/status"):
                late.wait_for(lambda topic=topic: late.of(f"site/mgts/{topic}")[-1] == b"offline")


def test_the_broker_says_that_a_killed_process_is_offline(tmp_path: Path) -> None:
    with broker(tmp_path) as mosquitto, subscriber(mosquitto.port) as listening:
        program = (
            "import sys, time\n"
            "from mgts_trt.watching.mqtt import Mqtt\n"
            "from mgts_trt.watching.mqtt_address import MqttAddress\n"
            "Mqtt(MqttAddress.parse(sys.argv[1]), '', [], on_note=print)\n"
            "time.sleep(600)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program, f"127.0.0.1:{mosquitto.port}/m"], cwd=ROOT)
        try:
            listening.wait_for(lambda: listening.of("m/status") == [b"online"])
            process.send_signal(signal.SIGKILL)
            listening.wait_for(lambda: listening.of("m/status") == [b"online", b"offline"])
        finally:
            process.kill()
            process.wait()


def certificate(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@pytest.mark.parametrize("trusted", [True, False])
def test_an_encrypted_connection_whose_certificate_is_checked(tmp_path, monkeypatch, trusted) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography: pip install 'mgts-trt[sign]'")
    certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    notes = Notes()
    lines = f"certfile {tmp_path / 'cert.pem'}\nkeyfile {tmp_path / 'key.pem'}\n"
    with broker(tmp_path, lines=lines) as mosquitto:
        address = MqttAddress.parse(f"mqtts://localhost:{mosquitto.port}/mgts")
        sender = Mqtt(address, "", [], on_note=notes, pauses=(1, 1))
        sender.put(alarm(0))
        if not trusted:
            notes.wait_for("certificate verify failed")
        sender.close(PATIENCE if trusted else 0.0)
    assert (sender.delivered, sender.lost) == ((1, 0) if trusted else (0, 1))
