"""Every link in a document leads somewhere, and every path it names is there."""

from pathlib import Path

import pytest

from tests.helpers.documents import broken_links, broken_paths, documents
from tests.helpers.paths import ROOT


def test_links_lead_somewhere() -> None:
    assert list(broken_links(ROOT)) == []


def test_paths_are_there() -> None:
    assert list(broken_paths(ROOT)) == []


def test_the_documents_are_read() -> None:
    read = {document.path.as_posix() for document in documents(ROOT)}
    assert {"README.md", "docs/bundle.md", "bundle/README.md"} <= read


def plant(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".md").write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a](gone.md)", "README.md:1 links gone.md, which is not there"),
        ("\n![a](gone.png)", "README.md:2 links gone.png, which is not there"),
        ("[![a](docs/here.md)](gone.md)", "README.md:1 links gone.md, which is not there"),
        ("| a |\n| --- |\n| [a](gone.md) |", "README.md:3 links gone.md, which is not there"),
        ("[a][1]\n\n[1]: gone.md", "README.md:1 links gone.md, which is not there"),
        ("[a](docs/here.md#gone)", "README.md:1 links docs/here.md#gone, and there is no such heading"),
        ("# Here\n[a](#there)", "README.md:2 links #there, and there is no such heading"),
    ],
)
def test_a_broken_link_is_caught(text: str, told: str, tmp_path: Path) -> None:
    assert list(broken_links(plant(tmp_path, README=text, docs__here="# Here"))) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/here.md#in-your-application)",
        "[a](docs/here.md#fp16-and-int8-1)",
        "[a](docs)",
        "[a](https://gone.example)",
        "`[a](gone.md)`",
    ],
)
def test_a_good_link_is_not(text: str, tmp_path: Path) -> None:
    here = "# In your `application`\n## FP16, and INT8\n## FP16, and INT8\n"
    assert list(broken_links(plant(tmp_path, README=text, docs__here=here))) == []


def test_a_path_that_is_not_there_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, README="`docs/here.md`, `docs/gone/a.py`, `tests/*` and `mgts_trt/…`", docs__here="")
    assert list(broken_paths(tmp_path)) == ["README.md:1 names docs/gone/a.py, which is not there"]
    (tmp_path / "a.py").write_text("# see docs/gone.md, and docs/here.md")
    assert "a.py names docs/gone.md, which is not there" in list(broken_paths(tmp_path))


def test_what_commands_write_is_not_read(tmp_path: Path) -> None:
    plant(tmp_path, out__a="[a](gone.md)")
    plant(tmp_path / ".venv", a="[a](gone.md)")
    assert documents(tmp_path) == []
