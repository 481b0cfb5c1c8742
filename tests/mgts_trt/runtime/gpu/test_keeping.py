import logging
import threading

from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu.keeping import CacheKeeper


class Engine:
    has_cache = True

    def __init__(self, error: Exception | None = None) -> None:
        self.go, self.begun, self.saved, self.error = threading.Event(), threading.Event(), 0, error
        self.go.set()

    def save_cache(self) -> None:
        self.begun.set()
        assert self.go.wait(20)
        self.saved += 1
        if self.error:
            raise self.error


def test_asking_does_not_wait_and_asking_again_in_time_saves_once() -> None:
    keeper, slow, other = CacheKeeper(), Engine(), Engine()
    slow.go.clear()
    keeper.keep(slow)
    assert slow.begun.wait(20)
    for _ in range(5):
        keeper.keep(other)
    keeper.keep(slow)  # it may have compiled more while it was being saved
    assert (slow.saved, other.saved) == (0, 0)
    slow.go.set()
    keeper.flush()
    assert (slow.saved, other.saved) == (2, 1)
    keeper.close()


def test_closing_saves_what_waits_and_nothing_afterwards() -> None:
    keeper, engine = CacheKeeper(), Engine()
    keeper.keep(engine)
    keeper.close()
    keeper.close()
    keeper.keep(engine)
    keeper.flush()
    assert engine.saved == 1


def test_engines_that_compile_nothing_cost_no_thread() -> None:
    keeper, engine = CacheKeeper(), Engine()
    engine.has_cache = False
    keeper.keep(engine)
    keeper.flush()
    assert engine.saved == 0


def test_what_cannot_be_saved_costs_a_line_in_the_log(caplog) -> None:
    keeper, broken, whole = CacheKeeper(), Engine(BackendError("it does not serialise")), Engine()
    with caplog.at_level(logging.WARNING):
        keeper.keep(broken)
        keeper.keep(whole)
        keeper.flush()
    assert "it does not serialise" in caplog.text
    assert whole.saved == 1
    keeper.close()
