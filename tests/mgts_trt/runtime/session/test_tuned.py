import logging

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import OFF, VARIABLE, DiskCache
from mgts_trt.machine.gpus import Gpu
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session import tuned
from mgts_trt.runtime.session.tuned import FASTEST, Setting, keep, recall
from tests.helpers.tiny_bundle import make_tiny_bundle

SETTING = Setting(backend="onnxruntime", threads=1, spinning=True)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return Bundle.open(make_tiny_bundle(tmp_path / "bundle"))


def test_what_is_kept_comes_back_for_this_mode_and_precision_alone(bundle):
    assert recall(bundle, "net", "fp32") is None
    keep(bundle, "net", "fp32", SETTING)
    assert recall(bundle, "net", "fp32") == SETTING
    assert [recall(bundle, *other) for other in (("box", "fp32"), ("net", "fp16"), ("net", FASTEST))] == [None] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_name", lambda: "another"),
        ("available_cores", lambda: 77),
        ("find_gpus", lambda: [Gpu("T4", (7, 5))]),
        ("file_sha256", lambda _: "another bundle"),
        ("__version__", "another"),
    ],
)
def test_another_machine_bundle_or_version_was_not_tuned(bundle, monkeypatch, name, value):
    keep(bundle, "net", "fp32", SETTING)
    monkeypatch.setattr(tuned, name, value)
    assert recall(bundle, "net", "fp32") is None


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b'{"backend": "abacus"}'])
def test_what_cannot_be_read_costs_a_line_in_the_log(bundle, caplog, content):
    DiskCache(tuned.KIND).store(tuned._key(bundle, "net", "fp32"), content)
    with caplog.at_level(logging.WARNING):
        assert recall(bundle, "net", "fp32") is None
    assert "Run it again" in caplog.text


def test_without_a_cache_nothing_can_be_kept(bundle, monkeypatch):
    monkeypatch.setenv(VARIABLE, OFF)
    with pytest.raises(BackendError, match="no cache folder"):
        keep(bundle, "net", "fp32", SETTING)
    assert recall(bundle, "net", "fp32") is None


def test_auto_obeys_unless_something_else_is_asked_for(bundle):
    keep(bundle, "net", "fp32", SETTING)
    keep(bundle, "net", FASTEST, SETTING)

    def opened(**how):
        with PersonSearch(bundle, **{"mode": "net", **how}) as search:
            return search.runtime.device, "mgts-trt tune" in search.runtime.reason, search.precision

    tuned_so = ("CPU, 1 threads", True, "fp32")
    assert opened() == tuned_so
    assert opened(precision="auto") == tuned_so
    assert opened(mode="box", precision="auto")[1:] == (False, "fp32"), "not tuned: FP32"
    for how in ({"threads": 2}, {"mode": "box"}, {"backend": "onnxruntime"}, {"pictures_in_flight": 2}):
        assert not opened(**how)[1], how


def test_a_backend_that_is_gone_is_not_insisted_on(bundle):
    keep(bundle, "net", "fp32", Setting(backend="tensorrt", ops="kernel"))
    with PersonSearch(bundle, mode="net", threads=None) as search:
        assert search.runtime.backend == "onnxruntime"
        assert "tune" not in search.runtime.reason


def test_settings_tell_themselves():
    assert str(SETTING) == "onnxruntime, fp32, 1 thread, spinning"
    plan = Setting(backend="tensorrt", precision="fp16", ops="kernel", graphs=False, pictures_in_flight=3)
    assert str(plan) == "tensorrt, fp16, operators kernel, no CUDA graphs, 3 in flight"
