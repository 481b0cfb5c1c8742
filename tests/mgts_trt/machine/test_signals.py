import signal
import threading

import pytest

from mgts_trt.machine.signals import is_ignored, signals_handled

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def own_handlers():
    """Signals that end a process, if nobody handles them, are handled: a list of the numbers that came through."""
    through = []
    before = [signal.signal(number, lambda number, frame: through.append(number)) for number in NUMBERS]
    yield through
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


def test_handles_and_puts_back(own_handlers):
    before = [signal.getsignal(number) for number in NUMBERS]
    heard = []
    with signals_handled(lambda number, frame: heard.append(number), *NUMBERS):
        for number in NUMBERS:
            signal.raise_signal(number)
    assert heard == list(NUMBERS)
    assert own_handlers == []
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_puts_back_after_an_error():
    before = signal.getsignal(signal.SIGUSR1)

    def stop(number, frame):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), signals_handled(stop, signal.SIGUSR1):
        signal.raise_signal(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert is_ignored(signal.SIGUSR1)
    assert not is_ignored(signal.SIGUSR2)
    heard = []
    with signals_handled(lambda number, frame: heard.append(number), *NUMBERS):
        for number in NUMBERS:
            signal.raise_signal(number)
    assert heard == [signal.SIGUSR2]
    assert is_ignored(signal.SIGUSR1)


def test_does_nothing_in_another_thread(own_handlers):
    heard, errors = [], []

    def work():
        try:
            with signals_handled(lambda number, frame: heard.append(number), signal.SIGUSR1):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert heard == []
    assert own_handlers == [signal.SIGUSR1]
