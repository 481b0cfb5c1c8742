import importlib
import sys

import pytest

from mgts_trt.cli.console import out, warn
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError


def ended(app, monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["mgts-trt", *arguments])
    try:
        run_app(app)
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    return code, capsys.readouterr().err


def raising(error: BaseException):
    def app() -> None:
        raise error

    return app


def test_an_expected_error_is_one_line(monkeypatch, capsys) -> None:
    code, err = ended(raising(MgtsError("o[/x] is\nno photo. Name one.")), monkeypatch, capsys)
    assert (code, err) == (2, "Error: o[/x] is\\nno photo. Name one.\n")


def test_a_defect_is_called_one(monkeypatch, capsys) -> None:
    code, err = ended(raising(KeyError("o[/x]")), monkeypatch, capsys)
    assert code == 70
    assert err == (
        "Internal error: KeyError: 'o[/x]'\n"
        "This is a defect of mgts-trt. Run the command again with --debug and report what it prints.\n"
    )
    with pytest.raises(KeyError):
        ended(raising(KeyError("x")), monkeypatch, capsys, "--debug")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lancedb", "pip install 'mgts-trt[gallery]'"),
        ("onnxscript.ir", "pip install 'mgts-trt[export]'"),
        ("PIL.Image", "pip install 'mgts-trt[serve]'"),
        ("nobodys_package", "pip install nobodys-package"),
    ],
)
def test_a_package_that_is_missing_is_no_defect(monkeypatch, capsys, module: str, line: str) -> None:
    def app() -> None:
        for part in (module.partition(".")[0], module):
            monkeypatch.setitem(sys.modules, part, None)
        importlib.import_module(module)

    code, err = ended(app, monkeypatch, capsys)
    assert code == 2
    assert line in err
    assert "defect" not in err


def test_a_module_of_our_own_that_is_missing_is_a_defect(monkeypatch, capsys) -> None:
    assert ended(raising(ModuleNotFoundError("no", name="mgts_trt.nothing")), monkeypatch, capsys)[0] == 70


def test_quiet_leaves_out_notes_but_no_error(monkeypatch, capsys) -> None:
    def app() -> None:
        warn("a note")
        out.print("a result")
        raise MgtsError("wrong")

    monkeypatch.setattr(sys, "argv", ["mgts-trt", "--quiet"])
    with pytest.raises(SystemExit):
        run_app(app)
    said = capsys.readouterr()
    assert said.out == "a result\n"
    assert said.err == "Error: wrong\n"
    code, err = ended(lambda: warn("a note"), monkeypatch, capsys)
    assert (code, err) == (0, "Note: a note\n")
