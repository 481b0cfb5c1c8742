import os
from pathlib import Path

import pytest

from mgts_trt.access.key_file import add_key, revoke_key
from mgts_trt.access.key_hash import new_key
from mgts_trt.access.key_ring import GIVEN, KeyRing
from mgts_trt.errors import AccessError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_whose_a_key_is(path: Path) -> None:
    desk, door = add_key(path, "desk", ["search", "forget"]), add_key(path, "door", ["index"])
    ring = KeyRing("given-key", path)
    assert ring.remembered(desk) is None
    caller = ring.verify(desk)
    assert caller == ring.remembered(desk)
    assert (caller.name, [caller.may(role) for role in ("search", "index", "forget", "admin")]) == (
        "desk",
        [True, False, True, False],
    )
    assert ring.verify(door).name == "door"
    assert ring.verify(desk[:-64] + door[-64:]) is None
    assert (ring.stored(new_key()), ring.verify(new_key()), ring.verify("given-key")) == (None, None, None)
    given = ring.given("given-key")
    assert given.name == GIVEN
    assert given.may("admin")
    assert given.may("index")
    assert ring.given("given-kez") is ring.given("") is None


def test_a_change_of_the_file_is_noticed(path: Path) -> None:
    desk = add_key(path, "desk", ["search"])
    ring, told = KeyRing(None, path), []
    ring.on_change = lambda keys: told.append([key.name for key in keys])
    assert ring.verify(desk)
    door = add_key(path, "door", ["admin"])
    assert ring.verify(door).may("index")
    revoke_key(path, "desk")
    assert ring.remembered(desk) is ring.verify(desk) is None
    assert ring.remembered(door) is None or ring.remembered(door).name == "door"
    assert told == [["desk", "door"], ["door"]]


@pytest.mark.parametrize("harm", ["open", "remove", "damage"])
def test_a_file_that_is_no_longer_right_holds_no_key_until_it_is_mended(path: Path, harm: str, caplog) -> None:
    desk = add_key(path, "desk", ["search"])
    ring, kept = KeyRing(None, path), path.read_bytes()
    assert ring.verify(desk)
    if harm == "open":
        path.chmod(0o644)
    elif harm == "remove":
        path.unlink()
    else:
        path.write_bytes(kept[:-9])
    assert ring.remembered(desk) is ring.verify(desk) is None
    assert "until it is mended" in caplog.text
    path.write_bytes(kept)
    path.chmod(0o600)
    assert ring.verify(desk).name == "desk"


def test_keys_expire_while_they_are_remembered(path: Path) -> None:
    now = [1000.0]
    desk = add_key(path, "desk", ["search"], expires=2000)
    ring = KeyRing(None, path, clock=lambda: now[0])
    assert ring.verify(desk)
    now[0] = 1999.9
    assert ring.remembered(desk)
    now[0] = 2000
    assert ring.remembered(desk) is ring.verify(desk) is None


def test_without_any_key_there_is_no_ring(path: Path) -> None:
    add_key(path, "desk", ["search"])
    revoke_key(path, "desk")
    with pytest.raises(AccessError, match="There is no key in"):
        KeyRing(None, path)
    assert KeyRing("given", path).given("given")


def test_another_users_file_is_refused(path: Path, monkeypatch) -> None:
    add_key(path, "desk", ["search"])
    mine = path.stat().st_uid
    if mine == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(AccessError, match="with the keys belongs to another user"):
        KeyRing(None, path)
