"""Command lines of documents, held against the commands there are: parsed by the very apps, and nothing runs."""

import importlib
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from unittest import mock

import typer
from typer.main import get_command

from mgts_trt.cli import outputs
from mgts_trt.errors import MgtsError
from tests.helpers.paths import ROOT

UsageError: Any = typer.BadParameter.__bases__[0]
"""What every mistake on a command line is; typer brings its own copy of it, or click's."""

_LOOSE = ("MissingParameter", "BadOptionUsage", "BadArgumentUsage")
"""Mistakes that a mere mention of a command may make: it need not be whole."""


def fault(words: list[str], *, whole: bool = True) -> str | None:
    """What is wrong with a command, in a sentence, or None; also for commands that are not this project's.

    Args:
        words: The command.
        whole: It is to be run as it stands; else it names a command, and what is missing is no fault.
    """
    words = [word for i, word in enumerate(words) if i or not re.fullmatch(r"\w+=.*", word)]
    if words[:1] == ["sudo"]:
        words = words[3:] if words[1:2] == ["-u"] else words[1:]
    names = [Path(word).name for word in words]
    if "mgts-trt" in names:
        return _parsed("mgts_trt", words[names.index("mgts-trt") + 1 :], whole)
    name = names[0] if words else ""
    if name in ("python", "python3") and words[1:2] == ["-m"] and len(words) > 2:
        package, arguments = words[2], words[3:]
        if package.partition(".")[0] in ("mgts_trt", "export", "training", "benchmarks"):
            return _parsed(package, arguments, whole)
        return _tests(arguments) if package == "pytest" else _extras([package, *arguments])
    if name == "pytest":
        return _tests(words[1:])
    if name == "make":
        return _targets(words[1:])
    return _extras([name, *words[1:]]) if name == "pip" else None


@cache
def app_of(package: str) -> Any:
    """The command that `python -m PACKAGE` is.

    Raises:
        ModuleNotFoundError: There is none, or it needs a package that is not installed.
    """
    where = {"mgts_trt": "mgts_trt.cli.app", "training": "training.__main__", "export": "export.__main__"}
    where["benchmarks.gpu"] = "benchmarks.gpu.__main__"
    return get_command(importlib.import_module(where.get(package, package)).app)


def _parsed(package: str, arguments: list[str], whole: bool) -> str | None:
    try:
        command = app_of(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        return f"there is no module {package}"
    try:
        # Options that hold for a whole command set variables until its end, to which it does not come here.
        with mock.patch.object(outputs, "check_place", _check_name), mock.patch.dict(os.environ):
            _walk(command, package, arguments)
    except typer.Exit:  # --help, --version
        return None
    except MgtsError as error:
        return str(error)
    except UsageError as error:
        return None if not whole and type(error).__name__ in _LOOSE else error.format_message()
    return None


def _walk(command: Any, name: str, arguments: list[str]) -> None:
    """Read a command line down to its last command, and call none."""
    context = None
    while True:
        context = command.make_context(name, list(arguments), parent=context, help_option_names=["--help"])
        if not hasattr(command, "commands"):
            return
        arguments = [*getattr(context, "_protected_args", []), *context.args]
        if not arguments:
            return
        name, command, arguments = command.resolve_command(context, arguments)


_check_place = outputs.check_place


def _check_name(file: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Judge the name of a file that a command would write, and not whether its folder is there already."""
    _check_place(Path(gettempdir(), file.name), suffixes)


def _tests(arguments: list[str]) -> str | None:
    paths = [word.partition("::")[0] for word in arguments if word.startswith("tests")]
    return next((f"there is no {path}" for path in paths if not (ROOT / path).exists()), None)


def _targets(arguments: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))
    variables = set(re.findall(r"^(\w+)\s*[?:]=", makefile, re.MULTILINE))
    for word in arguments:
        variable, equals, _ = word.partition("=")
        if (variable not in variables) if equals else (word not in targets):
            return f"the Makefile knows no {variable}"
    return None


def _extras(words: list[str]) -> str | None:
    if words[:2] != ["pip", "install"]:
        return None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words[2:]:
        match = re.fullmatch(r"(?:\.|mgts-trt)\[(.+)\]", word)
        for extra in match[1].split(",") if match else []:
            if extra.strip() not in project["optional-dependencies"]:
                return f"there is no extra {extra}"
    return None
