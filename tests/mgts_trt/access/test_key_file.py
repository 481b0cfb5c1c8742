import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from mgts_trt.access.key_file import ROLES, add_key, read_keys, revoke_key
from mgts_trt.access.key_hash import is_key
from mgts_trt.errors import AccessError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_file_is_its_owners_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        add_key(path, "desk", ["search"])
        revoke_key(path, "desk")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_key_is_in_the_file(path: Path) -> None:
    keys = {name: add_key(path, name, ["search"]) for name in ("a", "b")}
    text = path.read_text()
    for name, key in keys.items():
        assert key.rpartition("_")[2] not in text
        stored = next(each for each in read_keys(path) if each.name == name)
        assert is_key(key, stored.salt, stored.hash)
        assert not is_key(key[:-1] + ("0" if key[-1] != "0" else "1"), stored.salt, stored.hash)
    assert len({each.salt for each in read_keys(path)}) == 2


def test_roles_and_end_are_kept(path: Path) -> None:
    add_key(path, "desk", ["forget", "search"], expires=2e9)
    (stored,) = read_keys(path)
    assert (stored.roles, stored.expires) == (("search", "forget"), 2e9)
    assert (stored.expired(2e9 - 1), stored.expired(2e9)) == (False, True)


@pytest.mark.parametrize("name", ["", "a b", "(given)", "../x", "-a", "x" * 65, "a\n", "ä"])
def test_names_that_are_none(path: Path, name: str) -> None:
    with pytest.raises(AccessError, match="no name of a key"):
        add_key(path, name, ["search"])
    assert not path.exists()


def test_what_cannot_be_done_changes_nothing(path: Path) -> None:
    with pytest.raises(AccessError, match="no role"):
        add_key(path, "desk", [])
    with pytest.raises(AccessError, match="no file of keys"):
        revoke_key(path, "desk")
    add_key(path, "desk", ["admin"])
    before = path.read_bytes()
    with pytest.raises(AccessError, match="already"):
        add_key(path, "desk", ["search"])
    with pytest.raises(AccessError, match=r"no key named 'door'.*Its keys are: desk"):
        revoke_key(path, "door")
    assert path.read_bytes() == before
    with pytest.raises(AccessError, match="folder that exists"):
        add_key(path.parent / "none" / "keys.json", "desk", ["search"])


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o660, 0o644, 0o777])
def test_a_file_that_others_may_read_or_write_is_refused(path: Path, mode: int) -> None:
    add_key(path, "desk", ["search"])
    path.chmod(mode)
    for act in (lambda: read_keys(path), lambda: add_key(path, "door", ["search"]), lambda: revoke_key(path, "desk")):
        with pytest.raises(AccessError, match=f"chmod 600 {path}"):
            act()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: json.dumps({**content, "format": 2}),
        lambda content: json.dumps({**content, "more": 1}),
        lambda content: json.dumps({"format": 1, "keys": [{**content["keys"][0], "roles": ["king"]}]}),
        lambda content: json.dumps({"format": 1, "keys": [{**content["keys"][0], "salt": "xy"}]}),
        lambda content: json.dumps({"format": 1, "keys": [{**content["keys"][0], "name": "(given)"}]}),
    ],
)
def test_a_damaged_file_is_refused(path: Path, change) -> None:
    add_key(path, "desk", ["search"])
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(AccessError, match="is no file of keys"):
        read_keys(path)


def _add(path: Path, name: str) -> None:
    add_key(path, name, ROLES)


def test_several_at_once_lose_nothing(path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_add, args=(path, f"k{i}")) for i in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {each.name for each in read_keys(path)} == {f"k{i}" for i in range(6)}
