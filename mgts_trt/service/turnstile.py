"""How many requests are read and worked on at once, and who makes way when there are too many."""

from mgts_trt.service.body import Body
from mgts_trt.service.refusal import Refusal


class Turnstile:
    """Counts requests in progress.

    Attributes:
        running: All of them.
        arriving: Bodies on their way in.
        working: Requests whose body is whole, and which are answered.
        closing: Whether new ones are turned away for good.
    """

    def __init__(self) -> None:
        self.running = self.working = 0
        self.arriving: list[Body] = []
        self.closing = False


class Visit:
    """One request's way through the turnstile: its body arrives, it works, it leaves.

    Bodies that arrive and requests that work have places of their own, so that nobody keeps work waiting by sending
    slowly; and among those that arrive, the slowest makes way for the next.

    Args:
        turnstile: Which.
        body: Of the request.
        most: Places for those that arrive, and as many for those that work.
    """

    def __init__(self, turnstile: Turnstile, body: Body, most: int) -> None:
        self._turnstile, self._body, self._most = turnstile, body, most
        self._works = self._left = False

    def enter(self) -> None:
        """Begin to arrive; a request without a body works at once.

        Raises:
            Refusal: 429, all places are taken, and none by a slow body.
        """
        self._need_room_to_work()
        if not self._body.pending:
            self._work()
            return
        arriving = self._turnstile.arriving
        if len(arriving) >= self._most:
            slowest = min(arriving, key=lambda body: body.since)
            if not slowest.slow:
                raise _too_many()
            arriving.remove(slowest)
            slowest.displaced.set()
        arriving.append(self._body)
        self._body.on_whole = self._work

    def leave(self) -> None:
        """Free the place; doing so twice is harmless."""
        self._left = True
        self._stop_arriving()
        self._turnstile.working -= self._works
        self._works = False

    def _work(self) -> None:
        if self._left:
            return
        self._need_room_to_work()
        self._stop_arriving()
        self._turnstile.working += 1
        self._works = True

    def _need_room_to_work(self) -> None:
        if self._turnstile.working >= self._most:
            raise _too_many()

    def _stop_arriving(self) -> None:
        if self._body in self._turnstile.arriving:
            self._turnstile.arriving.remove(self._body)


def _too_many() -> Refusal:
    return Refusal(429, "Too many requests wait already. Try again in a second.", "queue", {"Retry-After": "1"})
