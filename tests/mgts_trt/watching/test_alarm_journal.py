from pathlib import Path

import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.watching.alarm_journal import AlarmJournal


def test_it_is_there_again(tmp_path: Path) -> None:
    AlarmJournal(tmp_path / "a").note(alarm="x", place="door", time=3.5)
    again = AlarmJournal(tmp_path / "a")
    assert (again.was_told("x"), again.was_told("y"), again.last("door"), again.last("gate")) == (
        True,
        False,
        3.5,
        None,
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"told": [], "last": []}', '{"told": [], "last": {"a": "b"}}'])
def test_what_is_no_journal_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(MgtsError, match="no journal"):
        AlarmJournal(tmp_path / "a")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MgtsError, match="Cannot write the journal"):
        AlarmJournal(tmp_path / "no" / "a").note(alarm="x")
