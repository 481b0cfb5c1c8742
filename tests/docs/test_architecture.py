"""The folder list of docs/architecture.md is the folders there are, and the pages keep their sizes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from training.evaluation.card import BEGIN, END

PACKAGES = ("mgts_trt", "training", "export", "benchmarks")


def listed(text: str) -> list[str]:
    """The folders of the list under "The rooms", in its order, as paths."""
    block = re.search(r"^## The rooms\n+```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "there is no list under ## The rooms"
    above: list[str] = []
    found = []
    for line in block[1].splitlines():
        entry = re.fullmatch(r"( *)(\w+)/ +\S.*", line)
        assert entry, f"{line!r} is no folder with a few words"
        above = [*above[: len(entry[1]) // 2], entry[2]]
        found.append("/".join(above))
    return found


def folders(root: Path) -> set[str]:
    """The folders at the top of a checkout, and the packages below them; not what git ignores or a command writes."""
    ignored = set(re.findall(r"^/?([\w-]+)/$", (root / ".gitignore").read_text(), re.MULTILINE)) | {"runs"}
    tops = {path.name for path in root.iterdir() if path.is_dir() and re.fullmatch(r"\w+", path.name)} - ignored
    below = {p.parent.relative_to(root).as_posix() for top in PACKAGES for p in (root / top).rglob("__init__.py")}
    return tops | below


def differences(root: Path, text: str) -> Iterator[str]:
    """Folders that are listed and not there, or there and not listed."""
    told, there = listed(text), folders(root)
    yield from (f"{name} is listed twice" for name in sorted(set(told)) if told.count(name) > 1)
    yield from (f"{name} is listed, and is not there" for name in told if not (root / name).is_dir())
    yield from (f"{name} is not listed" for name in sorted(there - set(told)))


def test_the_list_is_the_folders() -> None:
    assert list(differences(ROOT, (ROOT / "docs/architecture.md").read_text(encoding="utf-8"))) == []


def test_the_list_has_the_order_of_the_rooms() -> None:
    tree = ast.parse((ROOT / "tests/test_structure.py").read_text(encoding="utf-8"))
    order = next(n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ORDER")
    rooms = [f"mgts_trt/{name}" for name in ast.literal_eval(order)["mgts_trt"].replace("|", " ").split()]
    rooms = [name for name in rooms if (ROOT / name).is_dir()]
    told = listed((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    assert len(rooms) > 10
    assert [name for name in told if name in rooms] == rooms


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("  a/   first\n", ""), "mgts_trt/a is not listed"),
        (("docs/       these\n", ""), "docs is not listed"),
        (("  a/   first\n", "  a/   first\n  b/   second\n"), "mgts_trt/b is listed, and is not there"),
        (("  a/   first\n", "  a/   first\n  a/   first\n"), "mgts_trt/a is listed twice"),
    ],
)
def test_a_difference_is_caught(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    for folder in ("mgts_trt/a", "docs", "out", ".venv"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "mgts_trt/__init__.py").touch()
    (tmp_path / ".gitignore").write_text("/out/\n")
    text = "## The rooms\n\n```text\nmgts_trt/   the product\n  a/   first\ndocs/       these\n```\n"
    assert list(differences(tmp_path, text)) == []
    assert list(differences(tmp_path, text.replace(*change))) == [told]


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("README.md", 110), ("docs/decisions/[0-9]*.md", 40), ("*/README.md", 80)],
)
def test_pages_are_short(pattern: str, most: int) -> None:
    """What a command measures and writes into the model card is not counted."""
    pages = {page: page.read_text("utf-8") for page in sorted(ROOT.glob(pattern))}
    assert pages
    written = {page: re.sub(f"{BEGIN}.*{END}", "", text, flags=re.DOTALL) for page, text in pages.items()}
    assert {page for page, text in written.items() if len(text.splitlines()) > most} == set()


def test_decisions_are_numbered_and_listed() -> None:
    folder = ROOT / "docs/decisions"
    pages = sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
    assert [re.fullmatch(r"(\d{3})-[a-z0-9-]+\.md", name)[1] for name in pages] == [
        f"{number:03}" for number in range(1, len(pages) + 1)
    ]
    contents = (folder / "README.md").read_text(encoding="utf-8")
    for name in pages:
        title = (folder / name).read_text(encoding="utf-8").splitlines()[0]
        assert f"[{name[:3]}]({name}) | {title.removeprefix(f'# {name[:3]}: ')} |" in contents
