import pytest

from mgts_trt.errors import BackendError, BuildError
from mgts_trt.plans import plugin_library
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.lowering import LOWERINGS, RUNNABLE, choose_lowering, measurable, require_plugins
from tests.helpers.plugins.described import described

RTX, PLAIN = Flavour("tensorrt_rtx", "1.7", None), Flavour("tensorrt", "10.13", None)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where libraries of plugins are looked for."""
    monkeypatch.setenv(plugin_library.VARIABLE, str(tmp_path / "plugins"))
    return tmp_path / "plugins"


@pytest.mark.parametrize(
    ("choice", "flavour", "expected"),
    [
        ("auto", RTX, "kernel"),
        ("auto", PLAIN, "graph"),
        *((each, flavour, each) for each in RUNNABLE for flavour in (RTX, PLAIN)),
        ("plugin", PLAIN, "plugin"),
    ],
)
def test_what_is_built(choice, flavour, expected):
    assert choose_lowering(choice, flavour) == expected


def test_a_library_is_taken_where_it_is(folder):
    described(folder, 10)
    assert choose_lowering("auto", PLAIN) == "plugin"
    assert choose_lowering("auto", RTX) == "kernel"
    assert choose_lowering("auto", Flavour("tensorrt", "11.1", None)) == "graph"


def test_what_can_be_measured(folder):
    for flavour in (None, RTX, PLAIN):
        assert measurable(flavour) == RUNNABLE
    described(folder, 10)
    assert [measurable(flavour) for flavour in (None, RTX, PLAIN)] == [RUNNABLE, RUNNABLE, LOWERINGS]


def test_what_is_not():
    with pytest.raises(BuildError, match=r"Plans of TensorRT-RTX 1\.7 hold no plugins\. Build with --ops kernel or gr"):
        choose_lowering("plugin", RTX)
    with pytest.raises(BuildError, match="no lowering 'fused' of operators; it is auto, graph, kernel or plugin"):
        choose_lowering("fused", RTX)


def test_plugins_need_their_library():
    with pytest.raises(BackendError, match=r"no library of plugins for TensorRT 10 .*Build it with `mgts-trt plugins"):
        require_plugins(PLAIN)
    with pytest.raises(BuildError, match=r"Plans of TensorRT-RTX 1\.7 hold no plugins"):
        require_plugins(RTX)


def test_what_needs_no_library_is_one_of_all():
    assert [each for each in LOWERINGS if each in RUNNABLE] == list(RUNNABLE)
    assert set(LOWERINGS) - set(RUNNABLE) == {"plugin"}
