"""Every command that a document shows is one there is, with options it has; its Python imports what is there."""

import ast
import importlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_lines import fault
from tests.helpers.documents import Code, Document, commands, documents, mentioned
from tests.helpers.paths import ROOT

SHELL = ("", "sh", "bash")
OURS = ("mgts_trt", "training", "export", "benchmarks")

SHOWN = [document for document in documents(ROOT) if document.path != Path("CHANGELOG.md")]
"""Documents of today; the changelog tells of earlier days, too."""


def wrong_commands(document: Document) -> Iterator[str]:
    """Commands of a document that could not be run as they stand; of those in sentences, that do not exist."""
    for code in document.code():
        if code.language in SHELL:
            for words in commands(code):
                if words and (wrong := fault(words)):
                    yield f"{code}: {' '.join(words)}: {wrong}"
        elif code.language == "inline" and code.text.startswith(("mgts-trt ", "python -m ", "make ", "pip install ")):
            for words in mentioned(code):
                if wrong := fault(words, whole=False):
                    yield f"{code}: {' '.join(words)}: {wrong}"


def wrong_python(document: Document) -> Iterator[str]:
    """Blocks of Python that do not compile, or import from this project what is not there."""
    for code in document.code():
        if code.language != "python":
            continue
        try:
            tree = ast.parse(textwrap.dedent(code.text))
        except SyntaxError as error:
            yield f"{code}: {error.msg}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wanted = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                wanted = [(node.module or "", alias.name) for alias in node.names]
            else:
                continue
            for module, name in wanted:
                if module.partition(".")[0] in OURS and not _is_there(module, name):
                    yield f"{code}: there is no {module}{f'.{name}' if name else ''}"


def _is_there(module: str, name: str | None) -> bool:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return False
        raise
    return name is None or hasattr(found, name)


@pytest.mark.parametrize("document", SHOWN, ids=lambda document: document.path.as_posix())
def test_commands_are_there(document: Document) -> None:
    try:
        assert list(wrong_commands(document)) == []
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        pytest.skip(f"a command needs {error.name}, which is not installed")


@pytest.mark.parametrize("document", SHOWN, ids=lambda document: document.path.as_posix())
def test_python_imports_what_is_there(document: Document) -> None:
    assert list(wrong_python(document)) == []


def test_commands_are_found() -> None:
    shown = [words for d in SHOWN for c in d.code() if c.language in SHELL for words in commands(c) if words]
    assert sum(words[0] == "mgts-trt" for words in shown) > 20
    assert sum(words[0] == "python" for words in shown) > 10


def planted(tmp_path: Path, text: str) -> Document:
    (tmp_path / "a.md").write_text(text)
    return Document(tmp_path, Path("a.md"))


@pytest.mark.parametrize(
    "command",
    [
        "mgts-trt vanish",
        "mgts-trt doctor --gone",
        "mgts-trt doctor one two",
        "mgts-trt bench",
        "mgts-trt search --query a.jpg",
        "mgts-trt search -q a.jpg -g b --mode nett",
        "mgts-trt gallery vanish g",
        "mgts-trt gallery info",
        "mgts-trt bench --image a.jpg --runs none",
        "mgts-trt bench --image a.jpg \\\n    --gone",
        "mgts-trt search -q a.jpg -g b --sheet out/sheet.txt",
        "mgts-trt doctor && mgts-trt vanish",
        "KEY=1 mgts-trt vanish",
        ".venv/bin/mgts-trt vanish",
        "ray job submit -- mgts-trt vanish",
        "python -m mgts_trt vanish",
        "python -m export --gone",
        "python -m export --preset edge",
        "mgts-trt convert bundle --out small --gone",
        "python -m training detector --root data",
        "python -m training analyse vanish",
        "python -m benchmarks.vanish",
        "python -m pytest tests/vanish",
        "make vanish",
        "make demo GONE=1",
        'pip install ".[vanish]"',
        "pip install 'mgts-trt[ray,vanish]'",
    ],
)
def test_a_wrong_command_is_caught(command: str, tmp_path: Path) -> None:
    assert len(list(wrong_commands(planted(tmp_path, f"```sh\n{command}\n```\n")))) == 1
    indented = textwrap.indent(command, "    ")
    assert len(list(wrong_commands(planted(tmp_path, f"Text:\n\n{indented}\n")))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "`mgts-trt vanish`",
        "`mgts-trt doctor --gone`",
        "`mgts-trt gallery info|vanish`",
        "| `mgts-trt gallery info\\|vanish DIR` |\n| --- |",
        "`python -m training analyse vanish …`",
        "`make vanish`",
    ],
)
def test_a_wrong_mention_is_caught(text: str, tmp_path: Path) -> None:
    assert len(list(wrong_commands(planted(tmp_path, text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "`mgts-trt build`, `mgts-trt build --ops`, `mgts-trt gallery info|forget DIR`, `mgts-trt detect PHOTOS…`",
        "```sh\nmgts-trt search --query a@1,2,3,4 --gallery g --where 'camera=3,time>=10' > out.txt   # a comment\n```",
        "```text\nmgts-trt vanish\n```",
        "```sh\nls -l | head; curl x\n```",
        "`python -m training detector|masknet|reid …`",
    ],
)
def test_a_good_one_is_not(text: str, tmp_path: Path) -> None:
    assert list(wrong_commands(planted(tmp_path, text))) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = = 1", "invalid syntax"),
        ("import mgts_trt.vanish", "there is no mgts_trt.vanish"),
        ("from mgts_trt import Vanish", "there is no mgts_trt.Vanish"),
        ("def f():\n    from mgts_trt.gallery import Gallery, Vanish", "there is no mgts_trt.gallery.Vanish"),
    ],
)
def test_wrong_python_is_caught(text: str, told: str, tmp_path: Path) -> None:
    assert [told in each for each in wrong_python(planted(tmp_path, f"```python\n{text}\n```"))] == [True]


def test_code_is_told_apart(tmp_path: Path) -> None:
    document = planted(tmp_path, "`a`\n\n```sh\nb\n```\n\n    c\n")
    assert [(each.line, each.language, each.text) for each in document.code()] == [
        (4, "sh", "b\n"),
        (7, "", "c\n"),
        (1, "inline", "a"),
    ]
    assert list(commands(Code(Path("a.md"), 1, "sh", "b 'c d' # e\n\nf > g"))) == [["b", "c d"], ["f"]]
