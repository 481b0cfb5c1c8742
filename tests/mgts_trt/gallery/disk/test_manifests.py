"""Against LanceDB itself: what it says it has, and what it leaves when it cleans up."""

from datetime import timedelta
from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery, vector_index
from mgts_trt.gallery.disk.manifests import latest, read_manifest, versions
from mgts_trt.gallery.disk.sweep import files_of
from tests.helpers.stored_people import SPACE, entry

pytest.importorskip("lancedb")


@pytest.fixture
def people(tmp_path, monkeypatch):
    """LanceDB's table with two fragments, rows deleted in one, and indices; and its folder."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 10)
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add([entry(number) for number in range(8)])
        gallery.optimise()
        gallery.add([entry(number, source="/b.mp4") for number in range(8)])
        gallery.tables[0].delete("number = 3 AND source = '/b.mp4'")
        yield gallery.tables[0], Path(gallery.url) / "people.lance"


def test_it_names_what_lancedb_has(people) -> None:
    table, folder = people
    manifest = latest(folder)
    assert manifest.version == table.version == max(version["version"] for version in table.list_versions())
    assert len(versions(folder)) == len(table.list_versions())
    assert len(manifest.deleted_in) == 1
    assert sorted(manifest.indices.values()) == sorted(index.name for index in table.list_indices())
    assert [name.split("/")[0] for name in manifest.files].count("data") == table.stats()["fragment_stats"][
        "num_fragments"
    ]


@pytest.mark.filterwarnings("ignore:optimize")
def test_it_names_what_lancedb_keeps_and_nothing_else(people) -> None:
    table, folder = people
    for _ in range(2):  # it cleans up before it renews indices
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    manifest = latest(folder)
    kept = {file for file in files_of(folder) if not file.endswith("hint.json")}
    assert {file for file in kept if manifest.names(file)} == kept
    assert manifest.files


@pytest.mark.parametrize("cut", [0, 10, 100, -20])
def test_a_damaged_one_is_refused_by_name(people, cut) -> None:
    path = versions(people[1])[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + whole[cut + 1 :] if cut < 0 else whole[:cut])
    with pytest.raises(GalleryError, match=f"{path.name}.*damaged"):
        read_manifest(path)


def test_a_table_without_any_is_damaged(tmp_path) -> None:
    with pytest.raises(GalleryError, match="no version"):
        latest(tmp_path)
