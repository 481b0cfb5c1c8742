import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.guesses import Guesses


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def tried(guesses: Guesses, address: str, most: int = 1000) -> int:
    """How many wrong keys of an address are looked at before it has to wait."""
    for count in range(most):
        if guesses.wait(address, "wrong"):
            return count
        guesses.wrong(address)
    return most


def test_an_address_has_ten_and_then_one_a_second() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    assert tried(guesses, "192.0.2.1") == 10
    assert tried(guesses, "192.0.2.2") == 10
    clock.now = 3
    assert tried(guesses, "192.0.2.1") == 3
    assert guesses.wait("192.0.2.1", "wrong") == pytest.approx(1)
    clock.now = 1e6
    assert tried(guesses, "192.0.2.1") == 10


def test_all_together_have_a_hundred_and_then_ten_a_second() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    assert sum(tried(guesses, f"192.0.2.{i}") for i in range(250)) == 100
    clock.now = 1
    assert sum(tried(guesses, f"198.51.100.{i}") for i in range(250)) == 10


def test_whoever_was_right_is_not_locked_out() -> None:
    guesses = Guesses(Clock())
    guesses.right("192.0.2.7", "right")
    assert sum(tried(guesses, f"192.0.2.{i}") for i in range(250)) == 100
    assert guesses.wait("192.0.2.7", "right") == 0
    assert guesses.wait("192.0.2.7", "another") > 0
    assert guesses.wait("192.0.2.8", "right") > 0, "or guesses from elsewhere would be looked at as quickly"


def test_a_network_of_ipv6_is_one_address() -> None:
    guesses = Guesses(Clock())
    assert tried(guesses, "2001:db8::1") == 10
    assert tried(guesses, "2001:db8::ffff") == 0
    assert tried(guesses, "2001:db8:0:1::1") == 10
    assert tried(guesses, "::ffff:192.0.2.1") == tried(guesses, "::ffff:192.0.2.2") == 10
    assert tried(guesses, "no address") == 10


def test_addresses_that_were_forgotten_win_nothing() -> None:
    guesses = Guesses(Clock())
    for i in range(6000):
        guesses.wait(f"10.0.{i >> 8}.{i & 255}", "wrong")
    assert len(guesses._addresses) <= 4096
    assert sum(tried(guesses, f"192.0.2.{i}") for i in range(250)) == 100
