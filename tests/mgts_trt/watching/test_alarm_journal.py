import json
from pathlib import Path

import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.watching.alarm_journal import AlarmJournal


def filled(path: Path, alarms: int = 1) -> None:
    journal = AlarmJournal(path)
    for number in range(alarms):
        journal.note(f"x{number}", "Ann at the door", 3.5 + number)
    journal.close()


def test_it_is_there_again(tmp_path: Path) -> None:
    filled(tmp_path / "folder" / "a")
    again = AlarmJournal(tmp_path / "folder" / "a")
    assert (again.was_told("x0"), again.was_told("x1")) == (True, False)
    assert (again.last("Ann at the door"), again.last("Ann at the gate")) == (3.5, None)


def test_an_alarm_appends_a_line_and_opening_drops_what_is_outdated(tmp_path: Path) -> None:
    path = tmp_path / "a"
    filled(path)
    journal, before = AlarmJournal(path), path.read_text()
    journal.note("y", "Ann at the door", 9.0)
    assert path.read_text().startswith(before)
    assert path.read_text().count("\n") == before.count("\n") + 1
    journal.close()
    filled(path, 50)
    AlarmJournal(path).close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum("told" in line for line in lines) == 51
    assert [line["time"] for line in lines if "place" in line] == [52.5]


def test_it_tells_nobody_whom_and_where(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    assert "Ann" not in (tmp_path / "a").read_text()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_a_crash_tore_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a"
    journal = AlarmJournal(path)
    journal.note("x", "door", 1.0)
    journal.note("y", "gate", 2.0)
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = AlarmJournal(path)
    assert (again.was_told("x"), again.was_told("y"), again.last("gate")) == (True, False, None)
    again.note("z", "gate", 3.0)
    again.close()
    last = AlarmJournal(path)
    assert (last.was_told("x"), last.was_told("z"), last.last("gate")) == (True, True, 3.0)


@pytest.mark.parametrize("text", ["", "[]\n", "{}\n", '{"told": [], "last": {}}\n', "\xff\n"])
def test_what_is_no_journal_is_named_and_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text, encoding="latin-1")
    with pytest.raises(MgtsError, match="no journal"):
        AlarmJournal(tmp_path / "a")
    assert (tmp_path / "a").read_text(encoding="latin-1") == text


@pytest.mark.parametrize("line", ["[]", "no JSON", '{"place": "door", "time": "late"}'])
def test_a_line_that_is_none_of_it_is_named(tmp_path: Path, line: str) -> None:
    filled(tmp_path / "a")
    with (tmp_path / "a").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(MgtsError, match="no journal"):
        AlarmJournal(tmp_path / "a")


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("a file")
    with pytest.raises(MgtsError, match="Cannot write the journal"):
        AlarmJournal(tmp_path / "no" / "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MgtsError, match="Is a directory"):
        AlarmJournal(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "no"]


def test_two_at_once_are_told(tmp_path: Path) -> None:
    first = AlarmJournal(tmp_path / "a")
    with pytest.raises(MgtsError, match="Another process keeps its alarms"):
        AlarmJournal(tmp_path / "a")
    first.close()
    AlarmJournal(tmp_path / "a").close()
