"""Where MQTT alarms go, as a user writes it: `HOST[:PORT]/TOPIC`, `mqtt://USER@HOST/TOPIC`, `mqtts://…`."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mgts_trt.errors import MgtsError
from mgts_trt.urls import url_fault

_PORTS = {"mqtt": 1883, "mqtts": 8883}
# Without a scheme before the user, which messages would leave out.
_FORM = "HOST[:PORT]/TOPIC or USER@HOST[:PORT]/TOPIC, with mqtts:// before it for an encrypted connection"


@dataclass(frozen=True)
class MqttAddress:
    """A broker, and the topic that all topics begin with.

    Attributes:
        host: Name or address.
        port: 1…65535.
        topic: Without `/` at its ends.
        user: Empty for none.
        encrypted: Whether the connection is TLS, and the broker's certificate checked.
    """

    host: str
    port: int
    topic: str
    user: str = ""
    encrypted: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.encrypted else 'mqtt'}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "MqttAddress":
        """What a text names.

        Raises:
            MgtsError: It names no broker and topic, or holds a password, which does not belong on a command line.
        """
        url = text if "://" in text else f"mqtt://{text}"
        scheme, _, rest = url.partition("://")
        if scheme not in _PORTS:
            raise MgtsError(f"MQTT is not spoken over {scheme}://. Write {_FORM}.")
        if fault := url_fault(url):
            raise MgtsError(f"The broker's URL cannot be read. {fault}")
        if ":" in rest.rpartition("@")[0]:
            raise MgtsError(
                "A password in --mqtt would show in the list of processes. Write the user name alone, and put the "
                "password into $MGTS_MQTT_PASSWORD, or into a file named with --mqtt-password."
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise MgtsError(f"The broker's URL cannot be read: {error}. Write {_FORM}.") from error
        if not host or port == 0:
            raise MgtsError(f"{text} names no broker. Write {_FORM}.")
        topic = unquote(parts.path).strip("/")
        if re.search("[#?]", rest) or re.search(r"[#+\x00-\x1f]", topic) or topic.startswith("$"):
            raise MgtsError(
                f"Nothing can be published under the topic of {text}: such a topic holds no +, # or ?, nor begins "
                "with $."
            )
        if not topic:
            raise MgtsError(f"{text} names no topic. Write {_FORM}, such as {text.rstrip('/')}/mgts.")
        return cls(host, port or _PORTS[scheme], topic, unquote(parts.username or ""), scheme == "mqtts")
