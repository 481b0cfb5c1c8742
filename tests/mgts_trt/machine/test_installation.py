import ast
import re
from pathlib import Path

import pytest

from mgts_trt.machine import installation
from mgts_trt.version import __version__
from tests.helpers.paths import ROOT

OF_A_CHECKOUT = re.compile(
    r"python -m (?:export|training|benchmarks)|\bmake [a-z-]+`|(?:docs|benchmarks)/\w+\.(?:md|py)"
    r"|pip install [^`]*?(?<= )\.(?![\w/])"
)
ASKS = ("checkout", "in_checkout", "checkout_command")


def test_this_is_a_checkout() -> None:
    assert installation.checkout() == ROOT
    assert installation.in_checkout("`make dist`") == "`make dist`"
    assert installation.checkout_command("make dist") == "make dist"
    assert installation.reinstall_command() == f"pip install --force-reinstall --no-deps --editable {ROOT}"


@pytest.mark.parametrize("beside", [[], ["export"], ["pyproject.toml"]])
def test_a_wheel_is_none(beside: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else lies among the installed packages."""
    for name in beside:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "mgts_trt/machine/installation.py"))
    assert installation.checkout() is None
    assert installation.in_checkout("`make dist`") == "`make dist` in a checkout of mgts-trt"
    assert installation.checkout_command("make dist") == "make dist  # in a checkout of mgts-trt"
    wheel = f"mgts_trt-{__version__}-py3-none-any.whl"
    assert installation.reinstall_command() == f"pip install --force-reinstall --no-deps {wheel}"


def unasked(text: str) -> list[str]:
    """What a module's strings say of commands and pages that a wheel lacks, without asking whether this is one."""
    tree = ast.parse(text)
    asked: set[ast.AST] = set()
    for node in ast.walk(tree):
        call = node.test if isinstance(node, ast.IfExp) else node
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ASKS:
            asked |= set(ast.walk(node))
        if isinstance(node, ast.Expr):  # a docstring
            asked.add(node.value)
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in asked]
    return [found[0] for node in strings if (found := OF_A_CHECKOUT.search(node.value))]


def test_no_message_sends_a_wheel_to_what_it_lacks() -> None:
    found = {str(path): unasked(path.read_text("utf-8")) for path in (ROOT / "mgts_trt").rglob("*.py")}
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('raise E("Run `python -m export --out DIR`.")', ["python -m export"]),
        ('raise E(f"See docs/bundle.md, {a}.")', ["docs/bundle.md"]),
        ('a = "pip install --no-deps ."', ["pip install --no-deps ."]),
        ('"""See docs/bundle.md."""', []),
        ("raise E(f\"Run {in_checkout('`python -m export`')}.\")", []),
        ('a = "make dist" if checkout() else b', []),
        ("a = \"pip install 'mgts-trt[serve]', or ./a.whl\"", []),
    ],
)
def test_such_a_message_is_caught(text: str, said: list[str]) -> None:
    assert unasked(text) == said
