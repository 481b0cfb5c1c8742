"""Finding the library of plugins, refusing one that does not fit, and giving it to TensorRT's registry."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.plans import plugin_library
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plugin_library import KERNELS, VARIABLE, find_library, load_library, require_library
from tests.helpers.plugins.described import described


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where libraries are looked for."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plugins"))
    return tmp_path / "plugins"


class Registry:
    """TensorRT's, as far as it is asked; `takes` says what of a library it takes."""

    def __init__(self, takes=tuple(KERNELS)):
        self.loaded, self.takes, self.names = [], takes, []

    def get_creator(self, name, version, namespace):
        return name if (name, version, namespace) in [(each, "1", "") for each in self.names] else None

    def load_library(self, path):
        self.loaded.append(path)
        self.names += self.takes


@contextmanager
def collect(_):
    yield [SimpleNamespace(level="error", text="it says why"), SimpleNamespace(level="info", text="hello")]


def flavour(registry, version="10.13.3.9"):
    return Flavour("tensorrt", version, SimpleNamespace(get_plugin_registry=lambda: registry))


def test_the_one_of_a_version_is_found(folder):
    assert find_library(10) is None
    path = described(folder, 10)
    assert (found := find_library(10)) is not None
    assert (found.path, found.tensorrt, found.targets) == (path, 10, ("sm_87",))
    assert find_library(11) is None
    with pytest.raises(BackendError, match=r"no library of plugins for TensorRT 11 .*`mgts-trt plugins build`"):
        require_library(11)


def test_one_that_is_named(folder, monkeypatch):
    path = described(folder, 10)
    monkeypatch.setenv(VARIABLE, str(path))
    assert require_library(10).path == path
    with pytest.raises(BackendError, match=r"built for TensorRT 10, wanted is 11\. Build them again"):
        find_library(11)


def test_without_a_cache_none_is_found(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(plugin_library, "cache_root", lambda: None)
    assert find_library(10) is None
    with pytest.raises(BackendError, match=r"no place for the plugins: .* is off"):
        plugin_library.default_folder()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"operators": 2}, "operators of version 2, wanted is 1"),
        (
            {"digest": "0" * 16, "operators": 2},
            "operators of version 2, wanted is 1 and sources of digest 0{16}, wanted",
        ),
    ],
)
def test_one_that_was_built_for_something_else(folder, changes, says):
    described(folder, 10, **changes)
    with pytest.raises(BackendError, match=says):
        find_library(10)


@pytest.mark.parametrize("text", [b"", b"no library"])
def test_a_file_that_is_none(folder, monkeypatch, text):
    folder.mkdir()
    (path := folder / "other.so").write_bytes(text)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(BackendError, match=r"other\.so is no library of mgts-trt's plugins: "):
        find_library(10)


def test_it_is_loaded_once(folder, monkeypatch):
    monkeypatch.setattr(Flavour, "collect", collect)
    path = described(folder, 10)
    of = flavour(registry := Registry())
    load_library(of)
    load_library(of)
    assert registry.loaded == [str(path)]


def test_what_tensorrt_refuses_is_told(folder, monkeypatch):
    monkeypatch.setattr(Flavour, "collect", collect)
    described(folder, 10)
    with pytest.raises(BackendError, match=r"finds no AlignRois, PsAssemble, SeHead in .*\.so: it says why\. Build it"):
        load_library(flavour(Registry(takes=("Nms",))))


def test_changed_sources_have_another_name(tmp_path, monkeypatch):
    before = plugin_library.library_name(10)
    for room, name in (("plugins", "nms.cpp"), ("plugins", "plugin.h"), ("kernels", "nms.cu"), ("kernels", "a.cuh")):
        (tmp_path / room).mkdir(exist_ok=True)
        (tmp_path / room / name).write_text("")
    (other := tmp_path / "kernels" / "letterbox.cu").write_text("")
    monkeypatch.setattr(plugin_library, "engines_folder", lambda: tmp_path)
    names = {before}
    for changed in [path for path in tmp_path.rglob("*.*") if path != other]:
        changed.write_text("changed")
        plugin_library.sources_digest.cache_clear()
        names.add(plugin_library.library_name(10))
    assert len(names) == 5
    other.write_text("no plugin's kernel")
    plugin_library.sources_digest.cache_clear()
    assert plugin_library.library_name(10) in names
    plugin_library.sources_digest.cache_clear()
