import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")
pytest.importorskip("cryptography", reason="needs the extra encryption")

from mgts_trt.access.master_key import FILE_VARIABLE, KEY_VARIABLE
from mgts_trt.errors import GalleryError, SealedError
from mgts_trt.gallery import Gallery, vector_index
from mgts_trt.gallery.asking import matches_of
from mgts_trt.gallery.browse import people_page, person_with_embedding
from mgts_trt.gallery.encryption import PLAIN, Encryption, new_wrapped
from mgts_trt.gallery.forgetting import recall
from mgts_trt.gallery.lookup import people_by_id
from mgts_trt.gallery.retracking import retrack
from mgts_trt.gallery.sightings import frames_of, search_sightings
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, content, entry, unit
from tests.helpers.stored_sightings import followed

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SOI = b"\xff\xd8\xff"


@pytest.fixture(autouse=True)
def no_key(monkeypatch) -> None:
    for variable in (FILE_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def jpegs(seed: int, count: int) -> list[bytes]:
    noise = np.random.default_rng(seed).integers(0, 256, (count, 40, 20, 3), np.uint8)
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in noise]


def fill(place: Path, key: bytes | None) -> list[bytes]:
    """A video with two sightings, and a photo, with pictures; returns them."""
    entries, sightings = followed("/a.mp4", (1, 2), sha256="5" * 64)
    photo = entry(3, source="/b.jpg", sha256="6" * 64, time=None)
    shown = [jpegs(number, 2) for number in range(len(entries))] + [jpegs(99, 3)]
    with Gallery.create(place, SPACE, key) as gallery:
        gallery.add([replace(each, thumbnails=some) for each, some in zip(entries, shown, strict=False)], sightings)
        gallery.add([replace(photo, thumbnails=shown[-1])])
    return [picture for some in shown for picture in some]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    fill(tmp_path / "sealed", KEY)
    return tmp_path / "sealed"


def files_with(place: Path, secret: bytes) -> list[Path]:
    return [file for file in place.rglob("*") if file.is_file() and secret in file.read_bytes()]


def test_no_picture_is_in_any_file(tmp_path: Path) -> None:
    pictures = fill(tmp_path / "sealed", KEY)
    fill(tmp_path / "plain", None)
    for secret in (SOI, *(picture[200:232] for picture in pictures)):
        assert files_with(tmp_path / "plain", secret), "the search finds what is there"
        assert not files_with(tmp_path / "sealed", secret)
    assert not files_with(tmp_path / "sealed", KEY)


def test_every_reader_gets_the_same_as_from_a_plain_gallery(tmp_path: Path) -> None:
    fill(tmp_path / "sealed", KEY)
    fill(tmp_path / "plain", None)
    with Gallery.open(tmp_path / "sealed", key=KEY) as sealed, Gallery.open(tmp_path / "plain") as plain:
        assert (sealed.format, sealed.summary().encrypted) == (4, True)
        assert (plain.format, plain.summary().encrypted) == (3, False)
        assert content(sealed) == content(plain)
        probe, ids = unit(1, rows=1)[0], [row[0] for row in content(plain)]

        def read(gallery: Gallery) -> list[bytes]:
            found = [*gallery.search(probe, top=99), *people_page(gallery, limit=99).people]
            found += [person for each in ids if (person := gallery.person(each))]
            found += [person_with_embedding(gallery, each)[0] for each in ids]
            found += people_by_id(gallery, ids).values()
            of_people = search_sightings(gallery, probe, top=99)
            found += [person for each in of_people for person in frames_of(gallery, each.id)]
            crops = [crop.tobytes() for each in matches_of(gallery, of_people) for crop in (each.crop, *each.more)]
            return [person.thumbnail for person in found] + crops

        assert read(sealed) == read(plain)
        assert len(read(sealed)) > 6 * len(ids)
        assert all(person.stored != person.thumbnail for person, _ in sealed.rows())


def test_without_the_key_everything_but_pictures(place: Path) -> None:
    with Gallery.open(place) as gallery:
        probe = unit(1, rows=1)[0]
        found = search_sightings(gallery, probe, top=5)
        assert gallery.search(probe)[0].has_thumbnail
        assert len(matches_of(gallery, found, pictures=False)) == 5
        said = "encrypted, and no key was given. Name its file with --gallery-key or in .MGTS_GALLERY_KEY_FILE, or put"
        with pytest.raises(SealedError, match=said):
            matches_of(gallery, found)
        with pytest.raises(SealedError, match=said):
            _ = gallery.search(probe)[0].thumbnail
        before = gallery.count()
        with pytest.raises(SealedError, match=said):
            gallery.add([replace(entry(2, source="/c.jpg"), thumbnails=jpegs(1, 2))])
        assert gallery.count() == before
        gallery.add([replace(entry(2, source="/c.jpg"), thumbnails=())])
        assert gallery.count() == before + 2


def test_whoever_looks_after_it_needs_no_key(place: Path, monkeypatch) -> None:
    """Forgetting, optimising with an index, following anew and verifying move what is encrypted as it is."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 4)
    with Gallery.open(place, key=KEY) as gallery:
        before = [row for row in content(gallery) if row[1] == "/a.mp4"]
        forgotten = [person.stored for person, _ in gallery.rows() if person.source == "/b.jpg"]
    with Gallery.open(place) as gallery:
        assert gallery.forget("/b.jpg") == len(forgotten) == 3
        retrack(gallery, "/a.mp4", "5" * 64)
        gallery.optimise()
    assert not any(files_with(place, stored[40:72]) for stored in forgotten)
    assert not files_with(place, SOI)
    assert verify(place).clean
    with Gallery.open(place, key=KEY) as gallery:
        assert content(gallery) == before
        recall(gallery, "/b.jpg")
        gallery.add([replace(entry(1, source="/b.jpg"), thumbnails=(again := jpegs(5, 1)))])
        assert [person.thumbnail for person, _ in gallery.rows() if person.source == "/b.jpg"] == again


def test_another_key(place: Path, tmp_path: Path, monkeypatch) -> None:
    said = "This key does not open the pictures in the gallery .*: it is another gallery's, or was replaced by"
    with Gallery.open(place, key=OTHER) as gallery, pytest.raises(SealedError, match=said):
        gallery.encryption.require_key()
    with pytest.raises(SealedError, match=said):
        Gallery.create(place, SPACE, OTHER)
    monkeypatch.setenv(KEY_VARIABLE, OTHER.hex()[2:] + "7f")
    with Gallery.open(place) as gallery, pytest.raises(SealedError, match=said):
        _ = next(gallery.rows())[0].thumbnail
    with pytest.raises(SealedError, match=said):
        Gallery.create(place, SPACE)


def test_a_plain_gallery_is_not_written_to_as_if_it_were_encrypted(tmp_path: Path) -> None:
    fill(tmp_path / "plain", None)
    said = "the pictures in the gallery .* are not encrypted: that is settled when a gallery is made"
    with pytest.raises(SealedError, match=said):
        Gallery.create(tmp_path / "plain", SPACE, KEY)
    with Gallery.open(tmp_path / "plain", key=KEY) as gallery:
        assert next(gallery.rows())[0].thumbnail.startswith(SOI)


@pytest.mark.parametrize("how", ["flipped", "cut", "swapped", "plain", "short"])
def test_what_was_tampered_with_costs_itself_alone(place: Path, how: str, caplog) -> None:
    with Gallery.open(place, key=KEY) as gallery:
        people = [person for person, _ in gallery.rows()]
        victim, other = people[0], people[1]
        stored = victim.stored
        forged = {
            "flipped": stored[:50] + bytes([stored[50] ^ 1]) + stored[51:],
            "cut": stored[:-1],
            "swapped": other.stored,
            "plain": jpegs(7, 1)[0],
            "short": b"\x01",
        }[how]
        gallery.tables[0].update(where=f"id = '{victim.id}'", values={"thumbnail": forged})
        said = f"The picture of {victim.id} in the gallery .* is damaged, or was put there by somebody without"
        with pytest.raises(GalleryError, match=said) as caught:
            _ = gallery.person(victim.id).thumbnail
        assert not isinstance(caught.value, SealedError)
        read = {person.id for person in people[1:] if gallery.person(person.id).thumbnail.startswith(SOI)}
        assert len(read) == len(people) - 1
        shown = matches_of(gallery, gallery.search(unit(1, rows=1)[0], top=99))
        assert [each.crop is None for each in shown].count(True) == 1
        assert f"The picture of {victim.id}" in caplog.text


def test_a_lost_key_of_the_gallery(place: Path) -> None:
    for file in sorted((place / "picture_keys.lance").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (place / "picture_keys.lance").rmdir()
    found = verify(place)
    assert (found.clean, found.missing) == (False, ["picture_keys.lance"])
    with Gallery.open(place, key=KEY) as gallery:
        assert gallery.search(unit(1, rows=1)[0])
        with pytest.raises(GalleryError, match="has lost the key of its pictures, the table picture_keys"):
            gallery.encryption.require_key()
        with pytest.raises(GalleryError, match="has lost the key"):
            gallery.add([replace(entry(1, source="/c.jpg"), thumbnails=jpegs(1, 1))])


def test_pictures_are_never_encrypted_alike() -> None:
    stored = new_wrapped(KEY)
    encryption = Encryption("g", lambda: stored, KEY)
    assert len({encryption.encrypt("a-0", b"picture") for _ in range(8)}) == 8
    assert encryption.decrypt("a-0", encryption.encrypt("a-0", b"picture")) == b"picture"
    assert encryption.encrypt("a-0", b"") == encryption.decrypt("a-0", b"") == b""
    another = Encryption("g", lambda: new_wrapped(KEY), KEY)
    with pytest.raises(GalleryError, match="is damaged"):
        another.decrypt("a-0", encryption.encrypt("a-0", b"picture"))
    assert not PLAIN
    assert PLAIN.encrypt("a-0", b"picture") == PLAIN.decrypt("a-0", b"picture") == b"picture"


def test_without_cryptography(place: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    said = r"Encrypted pictures need the package cryptography, which is not installed.*'mgts-trt\[encryption\]'"
    with Gallery.open(place, key=KEY) as gallery:
        assert gallery.search(unit(1, rows=1)[0])
        with pytest.raises(SealedError, match=said):
            gallery.encryption.require_key()
    with pytest.raises(SealedError, match=said):
        Gallery.create(tmp_path / "new", SPACE, KEY)
    assert not (tmp_path / "new" / "people.lance").exists()
