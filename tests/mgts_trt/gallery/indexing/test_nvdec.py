"""What is asked of PyNvVideoCodec is there."""

import inspect

from tests.helpers.fake_nvdec import FakeNvdec, View
from tests.helpers.real_nvdec import real_api
from tests.helpers.simulated import SimulatedDevice


def test_names_and_arguments_are_the_packages():
    """Of the installed package, which needs no GPU for that."""
    api = real_api()
    fake = FakeNvdec(SimulatedDevice())
    for name in ("CreateDecoder", "GetDecoderCaps"):
        assert list(inspect.signature(getattr(fake, name)).parameters) in api["arguments"][name]
    for name in (
        "cudaVideoCodec",
        "cudaVideoChromaFormat",
        "OutputColorType",
        "Pixel_Format",
        "DisplayDecodeLatencyType",
        "VideoPacketFlag",
    ):
        assert {each.name: each.value for each in getattr(fake, name)}.items() <= api["members"][name].items()
    assert set(vars(fake.PacketData())) <= set(api["attributes"]["PacketData"])
    assert {"cuda", "timestamp", "format"} <= set(api["attributes"]["DecodedFrame"])
    assert "Decode" in api["attributes"]["PyNvDecoder"]
    told = {**api["view"], "data": tuple(api["view"]["data"])}
    assert View([4, 6, 1], [8, 1, 1], 4096, 2).__cuda_array_interface__ == told
