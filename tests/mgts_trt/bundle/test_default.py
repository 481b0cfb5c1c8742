"""The bundle that is meant where none is named."""

from pathlib import Path

import pytest

from mgts_trt.bundle import default
from mgts_trt.bundle.default import default_bundle, installed_bundles
from mgts_trt.errors import BundleError
from tests.helpers.paths import ROOT


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are imported from, and an empty one that this runs in, without a checkout."""
    for name in ("packages", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delenv("MGTS_BUNDLE", raising=False)
    monkeypatch.setattr(default, "checkout", lambda: None)
    return tmp_path / "packages"


def install(packages: Path, name: str, *, whole: bool = True) -> Path:
    """What a wheel with a bundle leaves: the bundle as a package, and the entry point that names it."""
    about = packages / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[mgts_trt.bundles]\n{name} = {name}\n")
    (packages / name).mkdir()
    if whole:
        (packages / name / "manifest.json").touch()
    return packages / name


def test_the_order(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes before those that were there already."""
    installed = install(packages, "bundle_of_a_wheel")
    assert default_bundle() == installed
    monkeypatch.setattr(default, "checkout", lambda: ROOT)
    assert default_bundle() == ROOT / "bundle"
    Path("bundle").mkdir()
    assert default_bundle() == ROOT / "bundle", "an empty folder is no bundle"
    Path("bundle/manifest.json").touch()
    assert default_bundle() == Path("bundle")
    monkeypatch.setenv("MGTS_BUNDLE", "/named")
    assert default_bundle() == Path("/named"), "who names one means it, be it there or not"


def test_there_is_none(packages: Path) -> None:
    install(packages, "emptied", whole=False)
    with pytest.raises(BundleError, match=r"none in ./bundle.*set MGTS_BUNDLE.*pip install mgts_trt_edge-\S+\.whl"):
        default_bundle()


def test_several_are_not_guessed_among(packages: Path) -> None:
    two = [install(packages, name) for name in ("one", "two")]
    assert list(installed_bundles()) == two
    with pytest.raises(BundleError, match=rf"2 are installed: {two[0]}, {two[1]}\. Name one"):
        default_bundle()


def test_one_that_cannot_be_imported_is_none(packages: Path) -> None:
    install(packages, "gone").rename(packages / "elsewhere")
    assert list(installed_bundles()) == []
