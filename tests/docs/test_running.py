"""The quickstart is followed, command by command, and the documents' Python is run."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mgts_trt.pictures.image import read_image
from tests.helpers.documents import Code, Document, commands
from tests.helpers.paths import ROOT, SAMPLES, TRAINED

LESS = {
    "parity": ["--precision", "fp32"],
    "bench": ["--runs", "1", "--warmup", "0"],
}
"""Added to a command, after what the page says, to make it quicker."""

PHOTO = SAMPLES / "17790319373_bd19b24cfc_k.jpg"


def blocks(page: str, *languages: str) -> list[Code]:
    return [code for code in Document(ROOT, Path(page)).code() if code.language in languages]


def shown(page: str) -> list[list[str]]:
    """The commands of a page that are this project's, without its name."""
    found = [words for code in blocks(page, "sh") for words in commands(code)]
    return [words[1:] for words in found if words and words[0] == "mgts-trt"]


def ranking(text: str) -> list[tuple[str, str, float]]:
    """Rank, scene and similarity of each row of the table that `search` prints."""
    rows = [line.split() for line in text.splitlines() if line[:5].strip().isdigit()]
    return [(rank, scene, float(similarity)) for rank, similarity, *_, scene, _ in rows]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the bundle and the pictures of a checkout, to write into."""
    (tmp_path / "bundle").symlink_to(TRAINED)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/pictures").symlink_to(ROOT / "docs/pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MGTS_BUNDLE", raising=False)
    return tmp_path


def follow(arguments: list[str], folder: Path) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "mgts_trt", *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"mgts-trt {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_quickstart_works(checkout: Path) -> None:
    pytest.importorskip("lancedb", reason="the quickstart makes a gallery")
    pytest.importorskip("matplotlib", reason="the quickstart plots")
    printed: dict[str, str] = {}
    for arguments in shown("docs/quickstart.md"):
        name = f"{arguments[0]} photos" if "--sheet" in arguments else arguments[0]
        printed[name] = follow([*arguments, *LESS.get(arguments[0], [])], checkout)
    names = {"doctor", "parity", "detect", "search photos", "bench", "index", "search", "gallery", "inspect"}
    assert set(printed) == names

    assert "are within tolerance" in printed["parity"]
    detected = json.loads((checkout / f"out/{PHOTO.name}.json").read_text())
    assert len(detected["people"]) >= 3
    for name in (f"{PHOTO.name}.people.jpg", "search.jpg", "bench.png"):
        assert (checkout / "out" / name).stat().st_size > 10_000
    assert "0018.jpg" in printed["search"].splitlines()[4], "the last search is the gallery's, and finds him first"
    assert "frames     20" in printed["gallery"]
    assert "done in" in printed["inspect"]

    said = next(code.text for code in blocks("docs/quickstart.md", "text") if "similarity" in code.text)
    assert len(ranking(said)) == 11
    for page, now in zip(ranking(said), ranking(printed["search photos"]), strict=True):
        assert page == (*now[:2], pytest.approx(now[2], abs=0.005)), "the page shows what the command prints"


def test_a_command_that_fails_is_caught(checkout: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?s)mgts-trt detect gone\.jpg.*no gone\.jpg"):
        follow(["detect", "gone.jpg"], checkout)


@pytest.mark.parametrize("page", ["README.md", "docs/embedding.md", "docs/gallery.md"])
def test_the_python_of_a_page_runs(page: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks of a page, one after the other; not those that need a GPU."""
    runs = [code for code in blocks(page, "python") if "cuda" not in code.text]
    assert runs
    if page == "docs/gallery.md":
        pytest.importorskip("lancedb", reason="the page makes a gallery")
        (checkout / "photos").mkdir()
        shutil.copy(SAMPLES / "store_aisle/0045.jpg", checkout / "photos")
    photo = SAMPLES / "store_aisle/0000.jpg"
    given = {
        "image": read_image(SAMPLES / "store_aisle/0045.jpg"),
        "photo": read_image(photo),
        "paths": [photo, PHOTO],
        **dict(zip(("x1", "y1", "x2", "y2"), (240, 63, 320, 231), strict=True)),
    }
    for code in runs:
        text = "\n" * (code.line - 1) + textwrap.dedent(code.text)
        exec(compile(text, str(ROOT / page), "exec"), given)
    if page == "README.md":
        assert given["similarity"].max() == pytest.approx(0.841, abs=0.005)
    if page == "docs/gallery.md":
        assert "0.84" in capsys.readouterr().out
