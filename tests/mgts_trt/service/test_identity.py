import asyncio
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.access import key_ring
from mgts_trt.access.key_file import add_key
from mgts_trt.access.key_hash import new_key
from mgts_trt.access.key_ring import KeyRing
from mgts_trt.service import identity
from mgts_trt.service.identity import ANYBODY, Identity
from mgts_trt.service.refusal import Refusal


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(identity, "GUESS_SECONDS", 0)


def scope(key: str | None, address: str = "192.0.2.1", *headers: tuple[str, str]) -> dict:
    told = [("x-api-key", key)] if key is not None else []
    encoded = [(name.encode(), value.encode()) for name, value in (*told, *headers)]
    return {"type": "http", "headers": encoded, "client": (address, 1)}


def status(identity: Identity, *arguments: object) -> int | str:
    """Whose a request is, or how it is refused."""
    try:
        found = asyncio.run(identity.find(scope(*arguments)))
    except Refusal as refusal:
        return refusal.status_code
    return found.name if found else "nobody"


def test_without_keys_everybody_may_do_everything() -> None:
    assert asyncio.run(Identity(None).find(scope("x"))) is ANYBODY


def test_guesses_of_the_given_key_are_slowed_and_keys_of_the_file_are_not(tmp_path: Path) -> None:
    desk = add_key(tmp_path / "keys", "desk", ["search"])
    found = Identity(KeyRing("given", tmp_path / "keys"))
    assert status(found, None) == "nobody"
    assert status(found, "given", "192.0.2.9") == "(given)"
    guesses = [status(found, f"guess{i}") for i in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    assert status(found, "given") == 429, "else the guesses would be looked at all the same"
    assert status(found, new_key()) == 429
    assert status(found, desk) == "desk"
    assert status(found, desk[:-1] + "x") == 429  # of another form
    assert status(found, "given", "192.0.2.9") == "(given)"


def test_a_wrong_key_with_a_known_id_is_wrong(tmp_path: Path) -> None:
    desk = add_key(tmp_path / "keys", "desk", ["search"])
    wrong = desk[:-64] + new_key()[-64:]
    found = Identity(KeyRing(None, tmp_path / "keys"))
    assert [status(found, wrong) for _ in range(12)] == [401] * 12
    assert status(found, desk) == "desk"


def test_a_key_is_verified_once_for_all_who_bear_it(tmp_path: Path, monkeypatch) -> None:
    desk = add_key(tmp_path / "keys", "desk", ["search"])
    found, calls, real = Identity(KeyRing(None, tmp_path / "keys")), [], key_ring.is_key
    monkeypatch.setattr(key_ring, "is_key", lambda *all_: (calls.append(1), real(*all_))[1])

    async def many() -> list:
        return await asyncio.gather(*(found.find(scope(desk)) for _ in range(30)))

    assert {caller.name for caller in asyncio.run(many())} == {"desk"}
    assert len(calls) == 1
    assert not found._verifying
    assert not found._places


def test_an_address_has_few_keys_verified_at_a_time(tmp_path: Path) -> None:
    desk = add_key(tmp_path / "keys", "desk", ["search"])
    found = Identity(KeyRing(None, tmp_path / "keys"))
    wrong = [desk[:-64] + new_key()[-64:] for _ in range(12)]

    async def many() -> list:
        requests = [found.find(scope(key)) for key in wrong] + [found.find(scope(desk, "192.0.2.2"))]
        return await asyncio.gather(*requests, return_exceptions=True)

    *refused, other = asyncio.run(many())
    assert sorted(each.status_code for each in refused) == [401] * 4 + [429] * 8
    assert other.name == "desk"


def test_behind_a_proxy_the_last_it_tells_of_is_the_address() -> None:
    found = Identity(KeyRing("given"), proxy="10.0.0.1")
    told = ("x-forwarded-for", "6.6.6.6, 192.0.2.1")
    assert [status(found, f"x{i}", "10.0.0.1", told) for i in range(11)][-2:] == [401, 429]
    assert status(found, "x", "10.0.0.1", ("x-forwarded-for", "192.0.2.2")) == 401
    assert status(found, "x", "10.0.0.1") == 401
    assert [status(found, f"x{i}", "10.0.0.2", ("x-forwarded-for", f"9.9.9.{i}")) for i in range(11)][-1] == 429
