"""What Home Assistant is told of watched cameras, so that it shows them by itself (MQTT discovery)."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.version import __version__

PREFIX = "homeassistant"
"""Topic that Home Assistant looks for new devices under, unless it was told another."""

_LONGEST = 64
"""Characters of a name in a topic."""


def topic_names(sources: Sequence[Source]) -> dict[str, str]:
    """What each source is called in topics, by its name: letters, digits, `_` and `-`; no two the same."""
    clean = {source.name: _clean(source.camera or source.name) for source in sources}
    count = Counter(clean.values())
    return {
        name: short if short and count[short] == 1 else f"{short or 'camera'}_{_digest(name)}"
        for name, short in clean.items()
    }


def discovery(topic: str, camera: str, shown: str) -> Mapping[str, str]:
    """Retained messages that make a camera known: topics, and their content as JSON.

    A device with two entities: whether the camera is up, and an event when somebody is seen.

    Args:
        topic: That all topics of this process begin with.
        camera: Its name in topics.
        shown: Its name.
    """
    node, base = f"{_clean(topic)}_{_digest(topic)}".strip("_"), f"{topic}/cameras/{camera}"
    common: dict[str, object] = {
        "availability_topic": f"{topic}/status",
        "payload_available": "online",
        "payload_not_available": "offline",
        "qos": 1,
        "device": {
            "identifiers": [f"mgts_trt_{node}_{camera}"],
            "name": shown,
            "manufacturer": "mgts-trt",
            "model": "Watched camera",
            "sw_version": __version__,
        },
        "origin": {"name": "mgts-trt", "sw_version": __version__},
    }
    connection = {
        **common,
        "name": "Connection",
        "unique_id": f"mgts_trt_{node}_{camera}_connection",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": f"{base}/status",
        "payload_on": "online",
        "payload_off": "offline",
        "json_attributes_topic": f"{base}/details",
    }
    seen = {
        **common,
        "name": "Seen",
        "unique_id": f"mgts_trt_{node}_{camera}_seen",
        "icon": "mdi:account-search",
        "state_topic": f"{base}/seen",
        "event_types": ["seen"],
    }
    return {
        f"{PREFIX}/binary_sensor/{node}/{camera}/config": json.dumps(connection),
        f"{PREFIX}/event/{node}/{camera}/config": json.dumps(seen),
    }


def seen_event(alarm: Mapping[str, object]) -> str:
    """What the event of a camera tells of an alarm: all but the crop, too large for Home Assistant's history."""
    return json.dumps({"event_type": "seen", **{key: value for key, value in alarm.items() if key != "crop"}})


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[-_LONGEST:]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
