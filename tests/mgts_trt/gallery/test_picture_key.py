from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")
pytest.importorskip("cryptography", reason="needs the extra encryption")

from mgts_trt.access.master_key import FILE_VARIABLE, KEY_VARIABLE
from mgts_trt.errors import SealedError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.lance import connect
from mgts_trt.gallery.making import make
from mgts_trt.gallery.picture_key import TABLE, read, rekey
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, content, entry

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    for variable in (FILE_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    with Gallery.create(tmp_path / "g", SPACE, OLD) as gallery:
        gallery.add([entry(number) for number in range(6)])
    return tmp_path / "g"


def wrapped(place: Path) -> bytes:
    return read(connect(str(place)), str(place))


def holding(place: Path, secret: bytes) -> list[Path]:
    return [file for file in place.rglob("*") if file.is_file() and secret in file.read_bytes()]


def opens(place: Path, key: bytes) -> bool:
    with Gallery.open(place, key=key) as gallery:
        try:
            gallery.encryption.require_key()
        except SealedError:
            return False
        return True


def test_rekeyed(place: Path) -> None:
    before = {file: file.read_bytes() for file in (place / "people.lance" / "data").iterdir()}
    old = wrapped(place)
    assert holding(place, old)
    with Gallery.open(place, key=OLD) as gallery:
        held = content(gallery)
        rekey(gallery, NEW)
        gallery.add([entry(7)])  # a process that has the gallery open goes on
    assert (opens(place, OLD), opens(place, NEW)) == (False, True)
    assert not holding(place, old), "the old key opens nothing that is left on the disk"
    assert all(file.read_bytes() == data for file, data in before.items()), "no picture is written anew"
    with Gallery.open(place, key=NEW) as gallery:
        assert [row for row in content(gallery) if row[2] != 7] == held
        assert len(content(gallery)) == len(held) + 3
    assert verify(place).clean


@pytest.mark.parametrize("step", ["rekey", "remove the old key"])
def test_cut_off_and_called_again(place: Path, monkeypatch, step: str) -> None:
    old = wrapped(place)

    def die(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, "on_step", die)
    with Gallery.open(place, key=OLD) as gallery, pytest.raises(KeyboardInterrupt):
        rekey(gallery, NEW)
    monkeypatch.undo()
    now = next(key for key in (OLD, NEW) if opens(place, key))
    assert now == (OLD if step == "rekey" else NEW)
    with Gallery.open(place, key=now) as gallery:
        rekey(gallery, NEW)
    assert (opens(place, OLD), opens(place, NEW)) == (False, True)
    assert not holding(place, old)


def test_what_has_no_key_to_change(place: Path, tmp_path: Path) -> None:
    with Gallery.open(place, key=NEW) as gallery, pytest.raises(SealedError, match="does not open the pictures"):
        rekey(gallery, OLD)
    with Gallery.create(tmp_path / "plain", SPACE) as gallery, pytest.raises(SealedError, match="are not encrypted"):
        rekey(gallery, OLD)


def test_making_it_again_keeps_the_key(place: Path) -> None:
    before = wrapped(place)
    make(str(place), SPACE, NEW)  # as of another process that was a little later
    assert wrapped(place) == before
    assert connect(str(place)).open_table(TABLE).count_rows() == 1
    assert opens(place, OLD)
