import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk import intents
from mgts_trt.gallery.disk.intents import Intent
from mgts_trt.gallery.disk.place import Place

INTENT = Intent("forget", {"people": "source IN ('/a''.jpg')"}, (b"\0\1\2", b"trace"))


@pytest.fixture
def place(tmp_path):
    return Place(str(tmp_path))


def test_an_intent_is_there_until_it_ends(place) -> None:
    intents.write(place, INTENT)
    assert list(intents.read(Place(str(place.folder)))) == [INTENT]
    [name] = intents.pending(place)
    path = place.keeping / name
    assert path.stat().st_mode & 0o777 == 0o600
    gone = intents.rows_gone(place, INTENT)
    assert list(intents.read(place)) == [gone]
    assert b"/a" not in path.read_bytes()
    intents.end(place, gone)
    assert intents.pending(place) == []
    assert list(place.keeping.iterdir()) == []


def test_what_was_half_written_is_no_intent(place) -> None:
    intents.write(place, INTENT)
    (place.keeping / ".half.0123").write_text("{")
    assert len(intents.pending(place)) == 1
    intents.remove_leftovers(place)
    assert len(list(place.keeping.iterdir())) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"reason": "forget"}', '{"conditions": {}, "traces": 1}'])
def test_a_damaged_one_says_what_to_do(place, text) -> None:
    intents.write(place, INTENT)
    [name] = intents.pending(place)
    path = place.keeping / name
    path.write_text(text)
    with pytest.raises(GalleryError, match="Remove it, and forget again"):
        list(intents.read(place))
