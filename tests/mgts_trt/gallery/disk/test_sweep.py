from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.disk.manifests import latest, versions
from mgts_trt.gallery.disk.sweep import files_of, missing, orphans, require_whole, roll_back, sweep
from tests.helpers.stored_people import SPACE, contents, entry, expected

pytest.importorskip("lancedb")

ENTRIES = [entry(number) for number in range(8)]


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        opened.add(ENTRIES[:4])
        opened.add(ENTRIES[4:])
        yield opened


def test_what_no_version_names_goes(gallery) -> None:
    table = Path(gallery.url) / "people.lance"
    assert orphans(table) == []
    left = [
        "_indices/9/page.lance",
        "_transactions/9-x.txn",
        "_versions/1.manifest#1",
        "data/x.lance",
        "data/y.lance#2",
    ]
    for name in left:
        (table / name).parent.mkdir(exist_ok=True, parents=True)
        (table / name).write_bytes(b"of a writer that was killed")
    assert orphans(table) == left
    before = len(versions(table))
    assert sweep(table, versions_too=False) == len(left)
    assert orphans(table) == []
    assert len(versions(table)) == before > 1
    assert not (table / "_indices/9").exists()
    assert contents(gallery) == expected(ENTRIES)


def test_older_versions_go_where_they_are_to(gallery) -> None:
    table = Path(gallery.url) / "people.lance"
    gallery.tables[0].optimize()
    sweep(table, versions_too=True)
    assert versions(table) == [latest(table).path]
    assert sum(file.startswith("data/") for file in files_of(table)) == 1
    assert contents(gallery) == expected(ENTRIES)
    gallery.add([entry(9)])
    assert contents(gallery) == expected([*ENTRIES, entry(9)])


def test_nothing_goes_where_something_is_missing(gallery) -> None:
    table = Path(gallery.url) / "people.lance"
    (table / "data/orphan.lance").write_bytes(b"x")
    lost = next((table / "data").glob("[01]*.lance"))
    lost.unlink()
    assert missing(table) == [f"data/{lost.name}"]
    before = set(files_of(table))
    with pytest.raises(GalleryError, match=lost.name):
        sweep(table, versions_too=True)
    assert set(files_of(table)) == before


def test_a_version_whose_file_was_cut_short_is_taken_back(gallery) -> None:
    """LanceDB commits one where the disk is full."""
    table, listed = Path(gallery.url) / "people.lance", gallery.checksums.read().copy()
    before = latest(table)
    require_whole(table)
    gallery.tables[0].update(where="true", values_sql={"source": "source"})
    [new] = [name for name in latest(table).files - before.files if name.startswith("data/")]
    (table / new).write_bytes((table / new).read_bytes()[:100])
    with pytest.raises(GalleryError, match="cut short"):
        require_whole(table)
    with pytest.raises(GalleryError, match="cut short"):
        sweep(table, versions_too=True)
    roll_back(table, {f"people.lance/_versions/{latest(table).path.name}"})  # it was whole when it was listed
    assert latest(table) != before
    roll_back(table, listed)
    assert latest(table) == before
    with Gallery.open(gallery.url) as again:
        assert contents(again) == expected(ENTRIES)
