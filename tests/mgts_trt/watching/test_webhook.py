import hashlib
import hmac
import threading

import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.watching.webhook import Webhook
from tests.helpers.webhook_receiver import receiving


def test_it_is_signed_and_tried_again() -> None:
    with receiving([503, 500, 429]) as receiver:
        hook = Webhook(receiver.url, b"key", pauses=(0, 0, 0))
        hook.put(b"one")
        hook.put(b"two")
        hook.close(60)
    signed = {body: "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest() for body in (b"one", b"two")}
    assert receiver.bodies == [(b"one", signed[b"one"])] * 4 + [(b"two", signed[b"two"])]
    assert (hook.delivered, hook.lost) == (2, 0)


@pytest.mark.parametrize(("answers", "tries"), [([400], 1), ([302], 1), ([500] * 3, 3)])
def test_what_is_refused_is_counted(answers: list[int], tries: int) -> None:
    with receiving(list(answers)) as receiver:
        hook = Webhook(receiver.url, b"", pauses=(0, 0))
        hook.put(b"one")
        hook.close(60)
    assert receiver.bodies == [(b"one", None)] * tries
    assert (hook.delivered, hook.lost) == (0, 1)


def test_a_slow_receiver_holds_nobody_up() -> None:
    gate = threading.Event()
    with receiving([], gate) as receiver:
        hook = Webhook(receiver.url, b"", pauses=(), room=2)
        hook.put(b"0")
        assert receiver.asked.wait(60)
        for number in range(1, 6):  # returns at once, although nothing is taken
            hook.put(b"%d" % number)
        assert hook.lost == 3
        gate.set()
        hook.close(60)
    assert [body for body, _ in receiver.bodies] == [b"0", b"1", b"2"]
    assert (hook.delivered, hook.lost) == (3, 3)


def test_no_url() -> None:
    with pytest.raises(MgtsError, match="https://"):
        Webhook("file:///etc/passwd", b"")
