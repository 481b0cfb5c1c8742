"""Roles, revocation and slowed guesses on a running service."""

from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.access.key_file import ROLES, add_key, revoke_key
from mgts_trt.service.permissions import DEMANDS
from tests.helpers.running_service import Running, picture, serving

GIVEN = "a-key-of-some-length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("roles")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """A key for each role, by role."""
    return {role: add_key(folder / "keys.json", f"{role}-key", [role]) for role in ROLES}


@pytest.fixture(scope="module")
def service(folder: Path, keys: dict[str, str]) -> Running:
    options = ("--gallery", folder / "gallery", "--keys", folder / "keys.json")
    with serving(folder, *options, environment={"MGTS_API_KEY": GIVEN}) as running, running.client() as client:
        files = [("images", ("a.png", picture((0, 1))))]
        sent = client.post("/index", files=files, data={"camera": "yard"}, headers={"X-API-Key": keys["index"]})
        assert sent.status_code == 200
        yield running


@pytest.fixture
def client(service: Running) -> httpx.Client:
    with service.client() as client:
        yield client


def ask(client: httpx.Client, route: str, key: str | None) -> httpx.Response:
    """A request of a route that, where it is let in, is answered, whatever comes of it."""
    method, _, path = route.partition(" ")
    path = "/page/app.js" if path == "/page" else path.format(id="none", model="person_search", version=1)
    return client.request(method, path, headers={} if key is None else {"X-API-Key": key})


@pytest.mark.parametrize("route", sorted(DEMANDS))
def test_each_route_lets_in_its_role_and_admins(client: httpx.Client, keys: dict[str, str], route: str) -> None:
    demand = DEMANDS[route]
    for role, key in {**keys, None: None, "given": GIVEN}.items():
        answer = ask(client, route, key)
        told = (route, role, answer.status_code, answer.text[:200])
        if demand == "nothing":
            assert answer.status_code == 200 or route == "GET /readyz", told
        elif role is None:
            assert answer.status_code == 401, told
        elif demand in ("any key", role) or role in ("admin", "given"):
            assert answer.status_code in (200, 400, 404), told
        else:
            assert answer.status_code == 403, told
            assert f"the role {demand}" in answer.json()["error"], told


@pytest.mark.parametrize("key", [None, "wrong-key"])
@pytest.mark.parametrize("route", [route for route in sorted(DEMANDS) if route.startswith("GET")])
def test_without_a_key_nothing_tells_of_people(client: httpx.Client, keys: dict[str, str], route: str, key) -> None:
    if key is not None and route not in ("GET /healthz", "GET /metrics", "GET /readyz"):
        return
    answer = ask(client, route, key)
    assert "yard" not in answer.text
    assert "a.png" not in answer.text
    if route == "GET /healthz" and key is None:
        assert answer.json()["gallery"] is None
        assert ask(client, route, keys["search"]).json()["gallery"] == {"people": 1, "frames": 1}
    if route == "GET /metrics":
        assert answer.status_code == 401
        counted = ask(client, route, keys["search"]).text
        assert 'mgts_gallery{kind="people"} 1.0' in counted
        assert "yard" not in counted


def test_keys_come_and_go_while_it_runs(client: httpx.Client, folder: Path) -> None:
    path = folder / "keys.json"
    late = add_key(path, "late", ["search"])
    assert ask(client, "GET /people", late).status_code == 200
    assert ask(client, "DELETE /sources", late).status_code == 403
    revoke_key(path, "late")
    assert ask(client, "GET /people", late).status_code == 401
    again = add_key(path, "late", ["forget"])
    assert ask(client, "GET /people", again).status_code == 403
    assert ask(client, "GET /people", late).status_code == 401


def test_a_file_that_others_may_read_closes_the_door(client: httpx.Client, folder: Path, keys: dict[str, str]) -> None:
    path = folder / "keys.json"
    assert ask(client, "GET /people", keys["search"]).status_code == 200
    path.chmod(0o644)
    try:
        assert ask(client, "GET /people", keys["search"]).status_code == 401
        assert ask(client, "GET /people", GIVEN).status_code == 200
    finally:
        path.chmod(0o600)
    assert ask(client, "GET /people", keys["search"]).status_code == 200


def test_guesses_are_slowed_and_lock_nobody_out(service: Running, keys: dict[str, str]) -> None:
    import asyncio

    async def guess() -> list[int]:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            guesses = (client.get("/people", headers={"X-API-Key": f"guess-{i}"}) for i in range(40))
            return [answer.status_code for answer in await asyncio.gather(*guesses)]

    with service.client() as client:
        assert ask(client, "GET /people", GIVEN).status_code == 200
        statuses = asyncio.run(guess())
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 20
        assert ask(client, "GET /people", GIVEN).status_code == 200
        assert ask(client, "GET /people", keys["search"]).status_code == 200
