import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import OFF, VARIABLE, DiskCache
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plugin_library import VARIABLE as PLUGINS
from mgts_trt.runtime.session import tuned_lowering as module
from mgts_trt.runtime.session.tuned import KIND
from mgts_trt.runtime.session.tuned_lowering import keep_lowering, recall_lowering
from tests.helpers.plugins.described import described
from tests.helpers.tiny_bundle import make_tiny_bundle

GPU = Gpu("NVIDIA H100", (9, 0), 80 << 30, "580.65")
TENSORRT = Flavour("tensorrt", "10.13.3", None)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(PLUGINS, str(tmp_path / "plugins"))
    monkeypatch.setattr(module, "find_gpus", lambda: [GPU])
    monkeypatch.setattr(module, "find_flavour", lambda gpu: TENSORRT)
    return Bundle.open(make_tiny_bundle(tmp_path / "bundle", ("fp32", "fp16")))


def test_what_is_kept_comes_back_for_this_precision_and_these_files_alone(bundle, tmp_path):
    assert recall_lowering(bundle, "fp32") == (None, "")
    keep_lowering(bundle, "fp32", "graph")
    keep_lowering(bundle, "fp32", "kernel")
    assert recall_lowering(bundle, "fp32") == ("kernel", ""), "the last one"
    assert recall_lowering(bundle, "fp16") == (None, "")
    copy = Bundle.open(make_tiny_bundle(tmp_path / "copy", ("fp32",)))
    assert recall_lowering(copy, "fp32") == ("kernel", ""), "the same files, though there are no others beside them"
    other = Bundle.open(make_tiny_bundle(tmp_path / "other", ("fp32",), models=("detector",)))
    assert recall_lowering(other, "fp32") == (None, "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("find_gpus", lambda: [Gpu("NVIDIA L4", (8, 9), 24 << 30, "580.65")], "gpu NVIDIA H100, here NVIDIA L4"),
        ("find_gpus", lambda: [Gpu("NVIDIA H100", (9, 0), 80 << 30, "590.1")], "driver 580.65, here 590.1"),
        ("find_gpus", list, "gpu NVIDIA H100, here none"),
        (
            "find_flavour",
            lambda gpu: Flavour("tensorrt", "11.1", None),
            "tensorrt TensorRT 10.13.3, here TensorRT 11.1",
        ),
        ("find_flavour", lambda gpu: None, "tensorrt TensorRT 10.13.3, here none"),
        ("__version__", "9.9", ", here 9.9"),
    ],
)
def test_another_machine_is_told(bundle, monkeypatch, name, value, said):
    keep_lowering(bundle, "fp32", "kernel")
    monkeypatch.setattr(module, name, value)
    kept, why_not = recall_lowering(bundle, "fp32")
    assert kept is None
    assert said in why_not
    assert "left aside. Run it again, or choose with --ops." in why_not


def test_plugins_that_have_come_or_gone_are_told(bundle, tmp_path):
    keep_lowering(bundle, "fp32", "kernel")
    described(tmp_path / "plugins", 10)
    assert "plugins none, here " in recall_lowering(bundle, "fp32")[1], "it may be faster now"
    keep_lowering(bundle, "fp32", "plugin")
    assert recall_lowering(bundle, "fp32") == ("plugin", "")
    for file in (tmp_path / "plugins").iterdir():
        file.unlink()
    assert ", here none" in recall_lowering(bundle, "fp32")[1]


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b"[]", b'{"lowering": "abacus", "machine": {}}'])
def test_what_cannot_be_read_is_told(bundle, content):
    DiskCache(KIND).store(module._key(bundle, "fp32"), content)
    kept, why_not = recall_lowering(bundle, "fp32")
    assert kept is None
    assert "cannot be read. Run it again" in why_not


def test_without_a_cache_nothing_can_be_kept(bundle, monkeypatch):
    monkeypatch.setenv(VARIABLE, OFF)
    with pytest.raises(BackendError, match="no cache folder"):
        keep_lowering(bundle, "fp32", "kernel")
    assert recall_lowering(bundle, "fp32") == (None, "")
