"""What TensorRT calls back, from several threads at once."""

import threading
from types import SimpleNamespace

import pytest

from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.listeners import ErrorLog, monitor_class

PLAIN = type("module", (), {name: type(name, (), {}) for name in ("IErrorRecorder", "IProgressMonitor")})


@pytest.fixture(params=["plain", "installed"])
def trt(request):
    """The classes that are derived from: plain ones, and those of what is installed."""
    if request.param == "plain":
        return PLAIN
    flavour = find_flavour()
    if flavour is None:
        pytest.skip("neither TensorRT-RTX nor TensorRT is installed")
    return flavour.module


@pytest.fixture
def error(trt):
    return SimpleNamespace(INTERNAL_ERROR=1) if trt is PLAIN else trt.ErrorCodeTRT


def in_thread(work):
    """Run it in another thread, to its end."""
    failures = []

    def guarded():
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_errors_belong_to_the_call_of_their_thread(trt, error):
    log = ErrorLog(trt)

    def other():
        with log.gather() as errors:
            assert log.recorder.num_errors() == 0
            log.recorder.report_error(error.INTERNAL_ERROR, "theirs")
            assert log.recorder.get_error_desc(0) == "theirs"
        assert errors == [(error.INTERNAL_ERROR, "theirs")]

    with log.gather() as mine:
        log.recorder.report_error(error.INTERNAL_ERROR, "mine")
        in_thread(other)
        assert (log.recorder.num_errors(), log.recorder.get_error_desc(0)) == (1, "mine")
        assert log.recorder.get_error_code(0) == error.INTERNAL_ERROR
    assert [text for _, text in mine] == ["mine"]
    assert not log.recorder.has_overflowed()


def test_an_error_of_a_thread_that_calls_nothing_concerns_all_that_do(trt, error):
    log = ErrorLog(trt)
    log.recorder.report_error(error.INTERNAL_ERROR, "before any call")
    with log.gather() as mine:
        in_thread(lambda: log.recorder.report_error(error.INTERNAL_ERROR, "from a worker"))
    assert [text for _, text in mine] == ["from a worker"]


def test_a_call_inside_a_call_keeps_its_own_errors(trt, error):
    log = ErrorLog(trt)
    with log.gather() as outer:
        log.recorder.report_error(error.INTERNAL_ERROR, "outer")
        with log.gather() as inner:
            log.recorder.report_error(error.INTERNAL_ERROR, "inner")
        log.recorder.report_error(error.INTERNAL_ERROR, "outer again")
    assert ([text for _, text in outer], [text for _, text in inner]) == (["outer", "outer again"], ["inner"])


def test_what_tensorrt_clears_is_its_own_call_s(trt, error):
    log = ErrorLog(trt)
    with log.gather() as mine:
        log.recorder.report_error(error.INTERNAL_ERROR, "mine")
        in_thread(log.recorder.clear)
        assert log.recorder.num_errors() == 1
        log.recorder.clear()
        assert log.recorder.num_errors() == 0
    assert mine == []


def test_progress_never_goes_back_and_ends_near_one(trt):
    seen = []
    monitor = monitor_class(trt)(lambda phase, fraction: seen.append(fraction), lambda: False)
    monitor.phase_start("all", None, 2)
    monitor.phase_start("part", "all", 4)
    assert all(monitor.step_complete("part", step) for step in range(4))
    monitor.phase_finish("part")
    monitor.step_complete("all", 0)
    monitor.phase_start("part", "all", 1)
    monitor.step_complete("all", 1)
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[4] == pytest.approx(3 / 8)
    assert seen[-1] == 1.0


def test_phases_of_two_threads_may_share_a_name(trt):
    seen = []
    monitor = monitor_class(trt)(lambda phase, fraction: seen.append(fraction), lambda: False)

    def other():
        monitor.phase_start("part", "all", 10)
        monitor.step_complete("part", 8)
        monitor.phase_finish("part")

    monitor.phase_start("all", None, 2)
    monitor.phase_start("part", "all", 4)
    in_thread(other)
    assert monitor.step_complete("part", 0)
    monitor.phase_finish("part")
    assert seen[3] == pytest.approx(9 / 20)
    assert seen == sorted(seen)


def test_a_phase_may_end_in_another_thread_than_it_began_in(trt):
    seen = []
    monitor = monitor_class(trt)(lambda phase, fraction: seen.append((phase, fraction)), lambda: False)
    monitor.phase_start("all", None, 2)
    in_thread(lambda: (monitor.step_complete("all", 0), monitor.phase_finish("all")))
    monitor.phase_finish("never begun")
    assert seen == [("all", 0.0), ("all", 0.5), ("all", 1.0)]


def test_a_cancelled_monitor_stops_the_build(trt):
    monitor = monitor_class(trt)(lambda phase, fraction: None, lambda: True)
    monitor.phase_start("all", None, 2)
    assert monitor.step_complete("all", 0) is False
