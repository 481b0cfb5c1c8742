"""Which decoder is taken, and what is told where it is not the one that was asked for."""

import sys
from types import SimpleNamespace

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.gallery.indexing.decoder_choice import ON_CPU, choose_decoders
from mgts_trt.gallery.indexing.nvdec_streams import StreamsOnGpu
from mgts_trt.gallery.indexing.nvdec_videos import VideosOnGpu
from tests.helpers.fake_nvdec import FakeNvdec
from tests.helpers.simulated import SimulatedDevice

CPU = SimpleNamespace(runtime=SimpleNamespace(engines={}, device="CPU, 2 threads", reason="There is no GPU."))


@pytest.fixture
def on_gpu():
    return SimpleNamespace(runtime=SimpleNamespace(engines={"detector": SimpleNamespace(device=SimulatedDevice())}))


@pytest.fixture
def package(monkeypatch):
    """PyNvVideoCodec, or what importing it raises."""
    real = __import__

    def have(package):
        def load(name, *rest):
            if name == "PyNvVideoCodec" and isinstance(package, Exception):
                raise package
            return real(name, *rest)

        monkeypatch.setattr("builtins.__import__", load)
        monkeypatch.setitem(sys.modules, "PyNvVideoCodec", package)

    return have


MISSING = ModuleNotFoundError("No module named 'PyNvVideoCodec'", name="PyNvVideoCodec")
NO_DRIVER = RuntimeError("Failed to load NVENC library: libnvidia-encode.so.1: no such file\n\n=== TROUBLESHOOTING")


@pytest.mark.parametrize("choice", ["auto", "gpu"])
def test_the_gpu_decodes_where_tensorrt_and_nvdec_are(on_gpu, package, choice):
    package(FakeNvdec(SimulatedDevice()))
    notes = []
    videos, streams = choose_decoders(choice, on_gpu, on_note=notes.append)
    assert (type(videos), type(streams)) == (VideosOnGpu, StreamsOnGpu)
    assert notes == ["videos and live streams are decoded on the GPU, by PyNvVideoCodec 2.2.4"]


def test_on_the_cpu_there_is_nothing_to_choose_nor_to_tell(package, caplog):
    package(MISSING)
    notes = []
    with caplog.at_level("INFO"):
        assert choose_decoders("auto", CPU, on_note=notes.append) is ON_CPU
    assert notes == []
    assert "videos and live streams are decoded on the CPU: What the GPU decodes is searched by TensorRT" in caplog.text


@pytest.mark.parametrize(
    ("why", "told"),
    [
        (MISSING, r"PyNvVideoCodec does not load .*pip install 'mgts-trt\[nvdec\]'"),
        (NO_DRIVER, r"libnvidia-encode.so.1: no such file. Install a driver of version 530 .*compute,utility,video"),
    ],
)
def test_what_is_missing_is_told(on_gpu, package, why, told):
    package(why)
    notes = []
    assert choose_decoders("auto", on_gpu, on_note=notes.append) is ON_CPU
    with pytest.raises(BackendError, match=told) as refused:
        choose_decoders("gpu", on_gpu)
    assert notes == [f"videos and live streams are decoded on the CPU: {refused.value}"]
    assert "TROUBLESHOOTING" not in str(refused.value)


def test_the_gpu_cannot_decode_for_the_cpu(package):
    package(FakeNvdec(SimulatedDevice()))
    with pytest.raises(BackendError, match=r"runs on CPU, 2 threads: There is no GPU\. .*doctor.*--decode cpu"):
        choose_decoders("gpu", CPU)


def test_the_cpu_and_photos_ask_for_nothing(package, on_gpu):
    package(MISSING)
    notes = []
    assert choose_decoders("cpu", on_gpu, on_note=notes.append) is ON_CPU
    assert choose_decoders("gpu", on_gpu, films=False, on_note=notes.append) is ON_CPU
    assert notes == []
