import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.watching.mqtt_address import MqttAddress


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("broker/mgts", MqttAddress("broker", 1883, "mgts"), "mqtt://broker:1883"),
        ("10.0.0.2:1884/a/b/", MqttAddress("10.0.0.2", 1884, "a/b"), "mqtt://10.0.0.2:1884"),
        ("ann@broker/mgts", MqttAddress("broker", 1883, "mgts", "ann"), "mqtt://broker:1883"),
        ("mqtt://ann%40home@broker/mgts", MqttAddress("broker", 1883, "mgts", "ann@home"), "mqtt://broker:1883"),
        ("mqtts://broker/m%20m", MqttAddress("broker", 8883, "m m", encrypted=True), "mqtts://broker:8883"),
        ("mqtt://[::1]:1885/m", MqttAddress("::1", 1885, "m"), "mqtt://[::1]:1885"),
    ],
)
def test_what_is_understood(text: str, address: MqttAddress, shown: str) -> None:
    assert MqttAddress.parse(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("broker", "names no topic"),
        ("mqtt://broker/", r"such as mqtt://broker/mgts\."),
        ("/mgts", "names no broker"),
        ("", "names no broker"),
        ("http://broker/mgts", "not spoken over http://"),
        ("broker:port/mgts", "cannot be read"),
        ("broker:99999/mgts", "cannot be read"),
        ("broker:0/mgts", "names no broker"),
        ("broker/a/+/b", r"holds no \+, #"),
        ("broker/a/#", r"holds no \+, #"),
        ("broker/a?", r"holds no \+, #"),
        ("broker/%23", r"holds no \+, #"),
        ("broker/$SYS/x", "nor begins"),
        ("broker/mgts?x=1", "Nothing can be published"),
        ("mqtt://ann:secret@broker/mgts", "list of processes"),
        ("ann:secret@broker/mgts", "list of processes"),
    ],
)
def test_what_is_refused_says_what_to_write(text: str, told: str) -> None:
    with pytest.raises(MgtsError, match=told) as error:
        MqttAddress.parse(text)
    assert "secret" not in str(error.value)
