"""What Home Assistant is sent, held against what its pages on MQTT discovery, binary sensors and events ask for."""

import json
import re

import pytest

from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.watching.home_assistant import discovery, seen_event, topic_names

COMMON = {
    "availability_topic", "payload_available", "payload_not_available", "qos", "device", "origin", "name", "unique_id",
    "device_class", "entity_category", "icon", "state_topic", "json_attributes_topic",
}  # fmt: skip
MAY = {"binary_sensor": COMMON | {"payload_on", "payload_off"}, "event": COMMON | {"event_types"}}
MUST = {"binary_sensor": {"state_topic"}, "event": {"state_topic", "event_types"}}
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}
TOPIC = re.compile(r"homeassistant/(binary_sensor|event)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")


@pytest.mark.parametrize("topic", ["mgts", "site/first floor/mgts", "ä"])
@pytest.mark.parametrize("camera", ["door", "rtsp_10_0_0_5_live"])
def test_it_is_what_home_assistant_asks_for(topic: str, camera: str) -> None:
    messages = discovery(topic, camera, "Front door ä")
    ids = set()
    for place, text in messages.items():
        match = TOPIC.fullmatch(place)
        assert match, place
        config = json.loads(text)
        assert MUST[match[1]] <= set(config) <= MAY[match[1]]
        assert config["device"]["identifiers"]
        assert set(config["device"]) <= DEVICE
        assert config["device"]["name"] == "Front door ä"
        assert config["origin"]["name"]
        assert config["qos"] in (0, 1, 2)
        assert all(not re.search("[+#]", config[key]) for key in config if key.endswith("_topic"))
        ids.add(config["unique_id"])
        if match[1] == "binary_sensor":
            assert config["device_class"] == "connectivity"
            assert config["entity_category"] == "diagnostic"
            assert config["payload_on"] != config["payload_off"]
        else:
            assert json.loads(seen_event({"id": "x"}))["event_type"] in config["event_types"]
    assert len(ids) == len(messages) == 2


def test_an_event_has_no_crop() -> None:
    assert json.loads(seen_event({"id": "x", "crop": "…" * 9999})) == {"event_type": "seen", "id": "x"}


def test_two_processes_and_their_cameras_are_told_apart() -> None:
    both = [json.loads(text) for topic in ("a/b", "a_b") for text in discovery(topic, "door", "Door").values()]
    assert len({config["unique_id"] for config in both}) == 4


def test_names_in_topics_are_clean_and_no_two_the_same() -> None:
    sources = [
        Source("rtsp://a/1", "stream", "front door"),
        Source("rtsp://a/2", "stream", "front/door"),
        Source("rtsp://user:secret@a/3", "stream"),
        Source("rtsp://a/4", "stream", "入口"),
        Source("rtsp://a/5", "stream", "出口"),
        Source(f"rtsp://a/{'6' * 300}", "stream"),
    ]
    names = topic_names(sources)
    assert names["rtsp://a/3"] == "rtsp_a_3"
    assert len(set(names.values())) == len(sources)
    for name in names.values():
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name), name
    assert topic_names(sources) == names
    assert topic_names(sources[:1]) == {"rtsp://a/1": "front_door"}
