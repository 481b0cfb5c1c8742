"""`mgts-trt watch`: alarms as lines of JSON, told once, and what it refuses."""

import json
import sys

import cv2
import numpy as np
import pytest

from mgts_trt.pictures.image import write_image
from tests.helpers.camera_scenes import camera, scene
from tests.helpers.mqtt_broker import broker, subscriber
from tests.helpers.webhook_receiver import receiving

ANN, BOB = ((255, 255, 255), (255, 0, 255))


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in ("MGTS_WEBHOOK_SECRET", "MGTS_MQTT_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def film(tmp_path):
    """Bob for four frames, then Ann, too, for four."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (96, 64))
    for number in range(8):
        image = np.full((64, 96, 3), 60, np.uint8)
        image[:32, 48:64] = BOB
        if number >= 4:
            image[32:, 16:32] = ANN
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


@pytest.fixture
def ann(tmp_path):
    image = np.full((64, 96, 3), 60, np.uint8)
    image[:32, :16] = ANN
    cv2.imwrite(str(tmp_path / "ann.png"), image[..., ::-1])
    return tmp_path / "ann.png"


def alarms_of(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_one_alarm_a_track_and_none_again_after_a_restart(run, pristine, film, ann, tmp_path):
    words = ("watch", film, "--for", f"{ann}@8,16", "--name", "Ann", "--likeness", 0.9999, "--bundle", pristine)
    words = (*words, "--mode", "box", "--camera", "door", "--state", tmp_path / "state.json")
    code, out, err = run(*words)
    assert code == 0, err
    (alarm,) = alarms_of(out)
    assert (alarm["person"], alarm["source"], alarm["number"], alarm["camera"]) == ("Ann", str(film), 4, "door")
    assert alarm["box"] == pytest.approx([16, 32, 32, 64], abs=0.1)
    assert "8 frames with 12 people watched, 1 alarm" in err
    code, out, err = run(*words)
    assert (code, alarms_of(out)) == (0, []), err


def test_into_a_file_with_crops_beside(run, pristine, film, ann, tmp_path):
    told, crops = tmp_path / "alarms.jsonl", tmp_path / "crops"
    words = ("watch", film, "--for", ann, "--likeness", 0.9999, "--bundle", pristine, "--mode", "box")
    for _ in range(2):
        code, out, err = run(*words, "--json", told, "--crops", crops, "--state", "off")
        assert (code, alarms_of(out)) == (0, []), err
    first, second = alarms_of(told.read_text())  # where nothing is kept, a second run tells again
    assert first == second
    assert cv2.imread(first["crop_file"]).shape == (32, 16, 3)


def test_a_broken_source_costs_itself(run, pristine, film, ann, tmp_path):
    (tmp_path / "bad.avi").write_bytes(b"no video")
    words = ("--for", ann, "--likeness", 0.9999, "--bundle", pristine, "--mode", "box")
    code, out, err = run("watch", tmp_path / "bad.avi", film, *words)
    assert (code, len(alarms_of(out))) == (0, 1), err
    assert "not watched" in err
    code, _, err = run("watch", tmp_path / "bad.avi", *words)
    assert (code, "Nothing was watched" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Give one of --far"),
        (("--far", 1e-3, "--likeness", 0.5), "Give one of --far"),
        (("--far", 1e-3), "not calibrated in mode box"),
        (("--likeness", 0.5, "--name", "Ann", "--name", "Bob"), "There are 2 --name for 1 --for"),
        (("--likeness", 0.5, "--secret", "/nowhere/key"), "Cannot read the key"),
        (("--likeness", 0.5, "--mqtt-password", "/nowhere/password"), "Cannot read the password"),
        (("--likeness", 0.5, "--mqtt", "broker"), "names no topic. Write HOST[:PORT]/TOPIC or USER@HOST[:PORT]/TOPIC"),
        (("--likeness", 0.5, "--state", "/dev/null/a"), "Cannot write the journal"),
        (("--likeness", 0.5, "--json", "/nowhere/a.jsonl"), "Name a file in a folder that exists"),
    ],
)
def test_what_cannot_be(run, pristine, film, ann, options, message):
    code, _, err = run("watch", film, "--for", ann, "--bundle", pristine, "--mode", "box", *options)
    assert (code, message in err) == (2, True), err


def test_state_lies_in_a_place_that_is_told(run, pristine, film, ann, tmp_path):
    words = ("watch", film, "--for", f"{ann}@8,16", "--likeness", 0.9999, "--bundle", pristine, "--mode", "box")
    code, out, err = run(*words)
    (file,) = (tmp_path / "state" / "mgts-trt").glob("*.jsonl")
    assert (code, len(alarms_of(out))) == (0, 1), err
    assert f"what is told is kept in {file}, and not told again" in err
    code, out, err = run(*words)
    assert (code, alarms_of(out)) == (0, []), err


def test_alarms_name_what_the_gallery_holds(run, pristine, film, ann, tmp_path):
    gallery = tmp_path / "gallery"
    words = ("watch", film, "--for", f"{ann}@8,16", "--likeness", 0.9999, "--bundle", pristine, "--mode", "box")
    code, out, err = run(*words, "--gallery", gallery)
    (alarm,) = alarms_of(out)
    assert code == 0, err
    assert alarm["gallery"] == str(gallery)
    assert list(gallery.glob("alarms-*.jsonl"))
    code, out, _ = run("search", "--query", f"{ann}@8,16", "--gallery", gallery, "--bundle", pristine, "--json", "-")
    assert code == 0
    assert alarm["sighting"] in out
    code, out, err = run(*words, "--gallery", gallery)
    assert (code, alarms_of(out)) == (0, []), err
    assert "8 were in the gallery already and not searched" in err


def test_to_a_broker_and_a_web_server_at_once(run, pristine, film, ann, tmp_path, monkeypatch):
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'mgts-trt[watch]'")
    words = ("watch", film, "--for", f"{ann}@8,16", "--likeness", 0.9999, "--bundle", pristine, "--mode", "box")
    (tmp_path / "password").write_text("right\n")
    with broker(tmp_path, password="right") as mosquitto, receiving([503]) as receiver:
        url = f"mqtt://watcher@127.0.0.1:{mosquitto.port}/shop"
        with subscriber(mosquitto.port, "right") as listening:
            given = ("--webhook", receiver.url, "--mqtt", url, "--mqtt-password", tmp_path / "password")
            code, out, err = run(*words, *given)
            assert code == 0, err
            listening.wait_for(lambda: listening.of("shop/status")[-1:] == [b"offline"])
            assert listening.of("shop/alarms") == [line.encode() for line in out.splitlines()]
        assert [body.decode() for body, _ in receiver.bodies] == out.splitlines() * 2
        assert "could not be delivered" not in err
        monkeypatch.setattr("mgts_trt.watching.delivery.PATIENCE", 0.5)
        monkeypatch.setenv("MGTS_MQTT_PASSWORD", "wrong")
        code, out, err = run(*words, "--mqtt", url, "--state", "off")
        assert (code, len(alarms_of(out))) == (0, 1)
        assert "Check the user name 'watcher', and the password in $MGTS_MQTT_PASSWORD" in err
        assert f"1 of 1 alarms could not be delivered to the MQTT broker mqtt://127.0.0.1:{mosquitto.port}" in err


@pytest.mark.parametrize("kept", [False, True])
def test_a_live_camera_is_told_of_over_mqtt(run, pristine, tmp_path, kept):
    """Who it shows is an alarm, and an event of the camera, which is offline in the end."""
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'mgts-trt[watch]'")
    write_image(tmp_path / "ann.png", scene(3))
    where = ("--gallery", tmp_path / "gallery") if kept else ()
    with broker(tmp_path) as mosquitto, camera() as live, subscriber(mosquitto.port) as listening:
        words = ("watch", live.url, "--camera", "front door", "--for", tmp_path / "ann.png", "--likeness", 0.9)
        words = (
            *words,
            "--limit",
            16,
            "--bundle",
            pristine,
            "--mode",
            "box",
            "--mqtt",
            f"127.0.0.1:{mosquitto.port}/m",
            "--metrics",
            tmp_path / "metrics.prom",
        )
        code, out, err = run(*words, *where)
        assert code == 0, err
        of = f'{{camera="front door",source="{live.url}"}}'
        assert f"mgts_camera_frames_taken_total{of} 16.0" in (tmp_path / "metrics.prom").read_text()
        listening.wait_for(lambda: listening.of("m/status") == [b"online", b"offline"])
        base = "m/cameras/front_door"
        assert listening.of(f"{base}/status")[-1] == b"offline"
        details = json.loads(listening.of(f"{base}/details")[-1])
        assert (details["camera"], details["standing"]) == ("front door", "ended")
        alarms = alarms_of(out)
        assert alarms
        assert [json.loads(text) for text in listening.of("m/alarms")] == alarms
        assert [json.loads(text)["id"] for text in listening.of(f"{base}/seen")] == [alarm["id"] for alarm in alarms]
    if kept:
        code, out, _ = run("gallery", "info", tmp_path / "gallery")
        assert (code, "front door" in out) == (0, True)
        words = ("search", "--query", tmp_path / "ann.png", "--gallery", tmp_path / "gallery", "--bundle", pristine)
        _, out, _ = run(*words, "--json", "-", "--top", 100)
        assert alarms[0]["sighting"] in out


def test_without_paho(run, pristine, film, ann, monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    words = ("--for", ann, "--likeness", 0.5, "--bundle", pristine, "--mode", "box", "--mqtt", "broker/shop")
    code, _, err = run("watch", film, *words)
    assert (code, "pip install 'mgts-trt[watch]'" in err) == (2, True), err
