import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.body import Body
from mgts_trt.service.limits import SLOW_SECONDS
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.turnstile import Turnstile, Visit


async def receive() -> dict:
    return {"type": "http.request", "body": b"", "more_body": True}


def visit(turnstile: Turnstile, *, age: float = 0.0, most: int = 2, expected: bool = True) -> tuple[Visit, Body]:
    """One whose body last made headway `age` seconds ago."""
    body = Body(receive, 100, expected=expected)
    body.since = time.monotonic() - age
    return Visit(turnstile, body, most), body


def test_bodies_that_arrive_take_no_place_of_those_that_work() -> None:
    turnstile = Turnstile()
    for _ in range(2):
        visit(turnstile)[0].enter()
    for _ in range(2):
        visit(turnstile, expected=False)[0].enter()
    assert (len(turnstile.arriving), turnstile.working) == (2, 2)


@pytest.mark.parametrize("expected", [True, False])
def test_no_room_to_work(expected: bool) -> None:
    turnstile = Turnstile()
    working = [visit(turnstile, expected=False)[0] for _ in range(2)]
    for each in working:
        each.enter()
    late, _ = visit(turnstile, expected=expected)
    with pytest.raises(Refusal) as refused:
        late.enter()
    assert (refused.value.status_code, refused.value.reason) == (429, "queue")
    assert refused.value.headers == {"Retry-After": "1"}
    late.leave()
    working[0].leave()
    working[0].leave()
    assert turnstile.working == 1
    visit(turnstile, expected=expected)[0].enter()


def test_the_slowest_makes_way() -> None:
    turnstile = Turnstile()
    visits = [visit(turnstile, age=age, most=3) for age in (SLOW_SECONDS + 1, SLOW_SECONDS + 9, 0.0)]
    for each, _ in visits:
        each.enter()
    visit(turnstile, most=3)[0].enter()
    assert [body.displaced.is_set() for _, body in visits] == [False, True, False]
    assert len(turnstile.arriving) == 3
    visits[1][0].leave()  # has no place to free any more
    assert len(turnstile.arriving) == 3


def test_bodies_that_make_headway_keep_their_places() -> None:
    turnstile = Turnstile()
    bodies = [visit(turnstile) for _ in range(2)]
    for each, _ in bodies:
        each.enter()
    with pytest.raises(Refusal, match="Too many requests"):
        visit(turnstile)[0].enter()
    assert not any(body.displaced.is_set() for _, body in bodies)


def test_a_whole_body_works_or_is_refused() -> None:
    turnstile = Turnstile()
    bodies = [visit(turnstile, most=2) for _ in range(2)]
    for each, _ in bodies:
        each.enter()
    visit(turnstile, expected=False)[0].enter()
    bodies[0][1].on_whole()
    assert (len(turnstile.arriving), turnstile.working) == (1, 2)
    with pytest.raises(Refusal, match="Too many requests"):
        bodies[1][1].on_whole()
    for each, body in bodies:
        each.leave()
        body.on_whole()  # who has left takes no place again
    assert (turnstile.arriving, turnstile.working) == ([], 1)
