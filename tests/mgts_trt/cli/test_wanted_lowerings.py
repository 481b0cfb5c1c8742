"""What `mgts-trt build --ops auto` builds after `mgts-trt tune`."""

import sys

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.wanted_lowerings import with_lowerings
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.plans import lowering
from mgts_trt.runtime.session import tuned_lowering
from mgts_trt.runtime.session.tuned_lowering import keep_lowering
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return Bundle.open(make_tiny_bundle(tmp_path / "bundle", ("fp32", "fp16")))


@pytest.mark.parametrize(
    ("kept", "asked", "expected"),
    [
        ({}, None, [("auto", None)]),
        ({}, ("fp16",), [("auto", ("fp16",))]),
        ({"fp32": "graph", "fp16": "graph"}, None, [("graph", None)]),
        ({"fp16": "graph"}, ("fp16",), [("graph", ("fp16",))]),
        ({"fp16": "graph"}, ("fp32",), [("auto", ("fp32",))]),
        ({"fp16": "graph"}, None, [("auto", ("fp32",)), ("graph", ("fp16",))]),
        ({"fp32": "kernel", "fp16": "graph"}, ("fp16", "fp32"), [("graph", ("fp16",)), ("kernel", ("fp32",))]),
    ],
)
def test_auto_is_what_was_measured(bundle, capsys, kept, asked, expected):
    for precision, ops in kept.items():
        keep_lowering(bundle, precision, ops)
    assert with_lowerings(bundle, "auto", asked) == expected
    said = capsys.readouterr().out
    for precision in asked or ("fp32", "fp16"):
        assert (f"Operators in {precision} are built as {kept.get(precision)}" in said) == (precision in kept)
    for ops in lowering.LOWERINGS:
        assert with_lowerings(bundle, ops, asked) == [(ops, asked)], "who names one gets it"
    assert not capsys.readouterr().out


def test_what_holds_no_longer_is_left_aside_with_a_sentence(bundle, monkeypatch, capsys):
    keep_lowering(bundle, "fp32", "graph")
    monkeypatch.setattr(tuned_lowering, "__version__", "another")
    assert with_lowerings(bundle, "auto", ("fp32",)) == [("auto", ("fp32",))]
    assert "is left aside" in " ".join(capsys.readouterr().err.split())


def test_build_asks(bundle, monkeypatch):
    from mgts_trt.cli.app import main
    from mgts_trt.plans.builder import build

    keep_lowering(bundle, "fp16", "graph")
    asked = []
    monkeypatch.setattr(build, "build_bundle", lambda _, those, *rest, ops, **how: asked.append((ops, those)) or [])
    for words in (
        ["--precision", "fp16"],
        ["--precision", "fp16,fp32", "--ops", "kernel"],
        ["--precision", "fp32,fp16"],
    ):
        monkeypatch.setattr(sys, "argv", ["mgts-trt", "build", str(bundle.root), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    both = [("auto", ("fp32",)), ("graph", ("fp16",))]
    assert asked == [("graph", ("fp16",)), ("kernel", ("fp16", "fp32")), *both]
