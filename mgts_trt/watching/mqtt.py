"""Alarms to an MQTT broker, with the state of each camera, and what Home Assistant needs to show them."""

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.cameras import CameraState
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.watching.delivery import ROOM, Delivery
from mgts_trt.watching.home_assistant import discovery, seen_event, topic_names
from mgts_trt.watching.mqtt_address import MqttAddress

if TYPE_CHECKING:
    from paho.mqtt.client import Client

ONLINE, OFFLINE = "online", "offline"

PAUSES = (1, 60)
"""Seconds before the first attempt to reach a broker again, doubled for each further one up to the second number."""

_KEEPALIVE = 15
"""Seconds of silence after which a connection is tested; a broker takes a process for dead after one and a half."""
_FAREWELL = 2.0
"""Seconds that saying goodbye may take."""
_NO_REASON = "Unspecified error"
"""What paho-mqtt says where the broker said nothing."""
_LOGIN = ("Bad user name or password", "Not authorized")
"""Refusals that a password may cure."""


class Mqtt(Delivery):
    """Publishes alarms under `TOPIC/alarms`, and says what cameras do.

    Retained, for whoever subscribes later: `TOPIC/status` of this process (the broker says `offline` when it dies), and
    `TOPIC/cameras/NAME/status` and `…/details` of each live stream; Home Assistant's discovery. Not retained: alarms,
    and `TOPIC/cameras/NAME/seen`, an alarm of that camera without its crop. The broker is tried again for ever. It
    speaks MQTT 5, which tells when a broker forbids a topic.

    Args:
        address: Of the broker, and the topic.
        password: Of the address's user; empty for none.
        sources: What is watched. Live streams among them are the cameras.
        on_note: Called, in a thread of its own, with what the user may want to know: that the broker cannot be reached,
            or is again.
        room: Alarms that wait.
        pauses: See `PAUSES`.

    Raises:
        MgtsError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        address: MqttAddress,
        password: str,
        sources: Sequence[Source],
        *,
        on_note: Callable[[str], None],
        room: int = ROOM,
        pauses: tuple[int, int] = PAUSES,
    ) -> None:
        self._address, self._on_note = address, on_note
        cameras = [source for source in sources if source.kind == "stream"]
        self._names = topic_names(cameras)
        self._retained: dict[str, str] = {f"{address.topic}/status": ONLINE}
        for source in cameras:
            name = self._names[source.name]
            self._retained.update(discovery(address.topic, name, source.camera or source.name))
            self._retained[f"{address.topic}/cameras/{name}/status"] = OFFLINE
        self._saying = threading.RLock()  # retained messages, of which the last is the one that counts
        self._changed = threading.Condition()
        self._taken: dict[int, bool] = {}
        """Whether the broker took each message that it has answered, by its number."""
        self._told, self._up, self._refusals = "", False, set[str]()
        self._client = self._connected_soon(password, pauses)
        super().__init__(f"the MQTT broker {address}", room=room)

    def deliver(self, body: bytes) -> bool:
        """See `Delivery`. What a broker did not acknowledge before its connection broke is sent again."""
        alarm = json.loads(body)
        messages = {f"{self._address.topic}/alarms": body}
        if (name := self._names.get(alarm["source"])) is not None:
            messages[f"{self._address.topic}/cameras/{name}/seen"] = seen_event(alarm).encode()
        with self._changed:
            self._taken.clear()
        numbers = [self._client.publish(topic, text, qos=1).mid for topic, text in messages.items()]
        with self._changed:
            while not all(number in self._taken for number in numbers):
                if self.stop.is_set():
                    return False
                self._changed.wait(0.1)
            return all(self._taken[number] for number in numbers)

    def camera_changed(self, state: CameraState, other: bool) -> None:
        """Say how a live stream is doing; see `Cameras`."""
        if not other or state.source not in self._names:
            return
        base = f"{self._address.topic}/cameras/{self._names[state.source]}"
        details = {"camera": state.camera, "source": state.source, "standing": state.standing, "since": state.since}
        self._say({f"{base}/status": ONLINE if state.standing == "up" else OFFLINE})
        self._say({f"{base}/details": json.dumps({**details, "restarts": state.restarts, "error": state.error})})

    def close(self, patience: float | None = None) -> None:
        """See `Delivery`. Then cameras and this process are offline."""
        super().close(patience)
        with self._changed:
            self._taken.clear()
        numbers = self._say({topic: OFFLINE for topic in self._retained if topic.endswith("/status")})
        with self._changed:
            self._changed.wait_for(lambda: all(number in self._taken for number in numbers), _FAREWELL)
        self._client.disconnect()
        self._client.loop_stop()

    def _say(self, messages: Mapping[str, str]) -> list[int]:
        """Replace retained messages; the numbers of those that went out now, and not with the next connection."""
        with self._saying:
            self._retained.update(messages)
            if not self._client.is_connected():
                return []
            return [self._client.publish(topic, text, qos=1, retain=True).mid for topic, text in messages.items()]

    def _connected_soon(self, password: str, pauses: tuple[int, int]) -> "Client":
        try:
            from paho.mqtt.client import Client, MQTTv5
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MgtsError(
                f"Alarms over MQTT need the package paho-mqtt ({error}). Install it: pip install 'mgts-trt[watch]'."
            ) from error
        address = self._address
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        if address.user:
            client.username_pw_set(address.user, password or None)
        if address.encrypted:
            client.tls_set()
        client.will_set(f"{address.topic}/status", OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*pauses)
        client.max_queued_messages_set(0)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        self._client = client
        client.connect_async(address.host, address.port, keepalive=_KEEPALIVE)
        client.loop_start()
        return client

    def _on_connect(self, client: "Client", data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._note_down(f"refuses the connection: {reason}{self._remedy(str(reason))}")
            return
        self._up = True
        with self._saying:
            for topic, text in self._retained.items():
                client.publish(topic, text, qos=1, retain=True)
        if self._told:
            self._told = ""
            self._on_note(f"the MQTT broker {self._address} is reached again")

    def _on_connect_fail(self, client: "Client", data: Any) -> None:
        error = sys.exc_info()[1]  # it is called where the error is caught, and not handed it
        self._note_down(f"cannot be reached: {getattr(error, 'strerror', None) or error or 'no answer'}")

    def _on_disconnect(self, client: "Client", data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._up:
            self._up = False
            if reason.is_failure:
                why = "the connection broke" if str(reason) == _NO_REASON else reason
                self._note_down(f"was lost: {why}")

    def _on_publish(self, client: "Client", data: Any, number: int, reason: Any, properties: Any) -> None:
        if reason.is_failure and str(reason) not in self._refusals:
            self._refusals.add(str(reason))
            self._on_note(f"the MQTT broker {self._address} refuses what is published: {reason}")
        with self._changed:
            self._taken[number] = not reason.is_failure
            self._changed.notify_all()

    def _note_down(self, what: str) -> None:
        """Tell it once, not at each attempt."""
        if what != self._told:
            self._told = what
            self._on_note(f"the MQTT broker {self._address} {what}; trying again")

    def _remedy(self, reason: str) -> str:
        if reason not in _LOGIN:
            return ""
        if self._address.user:
            return f". Check the user name {self._address.user!r}, and the password in $MGTS_MQTT_PASSWORD"
        return ". Name the user as in USER@HOST/TOPIC, and put the password into $MGTS_MQTT_PASSWORD"
