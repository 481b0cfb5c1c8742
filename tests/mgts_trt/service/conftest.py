"""What holds for every test of the service."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_defect_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An application in the test's own process must not fail with 500, unless the test is marked `defect`.

    Each such answer leaves an error with its traceback in the log; of a service in a process of its own,
    `tests.helpers.running_service.serving` reads the log.
    """
    yield
    if request.node.get_closest_marker("defect"):
        return
    defects = [record for record in caplog.get_records("call") if record.exc_info and record.levelno >= logging.ERROR]
    if defects:
        pytest.fail("\n".join(f"{record.getMessage()}: {record.exc_info[1]!r}" for record in defects), pytrace=False)
