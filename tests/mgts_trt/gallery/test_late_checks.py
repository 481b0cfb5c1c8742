import subprocess
import sys

import pydantic
import pytest

from mgts_trt.gallery.late_checks import built_when_called
from tests.helpers.paths import ROOT


def double(number: int) -> int:
    return 2 * number


def wrong(number: int) -> int:
    return "none"  # type: ignore[return-value]


def test_what_is_checked_later_is_checked() -> None:
    before = pydantic.validate_call
    with built_when_called():
        checked = pydantic.validate_call(double)
        strict = pydantic.validate_call(config={"strict": True}, validate_return=True)(wrong)
    assert pydantic.validate_call is before
    assert checked("2") == 4
    for call, given in ((checked, "two"), (strict, "2"), (strict, 2)):
        with pytest.raises(pydantic.ValidationError):
            call(given)


def test_it_is_put_back_whatever_happens() -> None:
    before = pydantic.validate_call
    with pytest.raises(ImportError), built_when_called():
        raise ImportError
    assert pydantic.validate_call is before


def test_lancedb_builds_none_of_its_checks() -> None:
    """Of the client that a gallery never calls."""
    pytest.importorskip("lancedb")
    code = """
from mgts_trt.gallery.late_checks import built_when_called
import pydantic._internal._validate_call as within
built = []
made = within.ValidateCallWrapper._create_validators
within.ValidateCallWrapper._create_validators = lambda self: (built.append(self), made(self))
with built_when_called():
    import lancedb
    import lance_namespace_urllib3_client.api
print(len(built))
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(told.stdout) == 0
