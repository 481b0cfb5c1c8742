import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Group
from rich.progress import TextColumn
from rich.text import Text

from mgts_trt.cli.console import table
from mgts_trt.cli.terminal import Terminal, styled, visible

# fmt: off
NAMES = [
    "o[red]y",
    "o[/x]",
    ":car:",
    "a\x1b[31mb",
    "two\nlines",
    "b\x00ell\x07",
    "caf\udce9",
    "\u202egnp.exe",
    "日本",
    "é",
]
SHOWN = [
    "o[red]y",
    "o[/x]",
    ":car:",
    r"a\x1b[31mb",
    r"two\nlines",
    r"b\x00ell\x07",
    r"caf\xe9",
    r"\u202egnp.exe",
    "日本",
    "é",
]


def printed(*objects: object, width: int = 80, terminal: bool = False, **how: object) -> str:
    console = Terminal()
    console.file = io.StringIO()
    console._force_terminal, console.no_color, console._color_system = terminal, True, None
    console.width = width
    console.print(*objects, **how)
    return console.file.getvalue()


@pytest.mark.parametrize(("name", "shown"), [*zip(NAMES, SHOWN, strict=True)], ids=SHOWN)
def test_a_name_is_shown_as_it_is_wherever_it_is_printed(name: str, shown: str) -> None:
    rows = table("name", ">size", title=f"of {name}")
    rows.add_row(name, "12")
    rows.note = name
    places = [f"to {name}", styled(("Note:", "bold"), f" {name}"), Text(name), Group(name), rows]
    for place in places:
        text = printed(place)
        assert shown in text or (isinstance(place, Text) and "\x1b" not in text), place
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


@given(st.text(st.characters(codec=None, exclude_categories=())))
@settings(max_examples=300)
def test_nothing_commands_a_terminal(name: str) -> None:
    rows = table("name", name)
    rows.add_row(name, name)
    for text in (printed(name), printed(styled((name, "red"))), printed(rows)):
        text.encode("utf-8")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)
    assert printed(name) == visible(name) + "\n"


def test_progress_takes_no_markup() -> None:
    from rich.progress import Task

    task = Task(0, "o[red]y :car:", None, 0, _get_time=lambda: 0)
    from mgts_trt.cli.console import progress

    column = next(column for column in progress().columns if isinstance(column, TextColumn))
    assert column.render(task).plain == "o[red]y :car:"


def records(name: str) -> object:
    rows = table(
        ">rank", ">similarity", "scene", ">box x,y,w,h", title="a title that takes more than forty columns"
    )
    rows.add_row("1", "0.987654", name, "1234,5678,100,200")
    rows.add_row("2", "0.912345", "short.jpg", "4321,8765,300,400")
    rows.note = "one line\nand another"
    return rows


NUMBERS = ("0.987654", "1234,5678,100,200", "0.912345", "4321,8765,300,400")


def test_a_pipe_gets_one_record_a_line() -> None:
    name = "folder/" * 40 + "photo.jpg"
    text = printed(records(name), width=40)
    for numbers in (NUMBERS[:2], NUMBERS[2:]):
        line = next(line for line in text.splitlines() if numbers[0] in line)
        assert numbers[1] in line
    assert any(name in line and NUMBERS[0] in line for line in text.splitlines())
    assert printed(f"written to {name}", width=40) == f"written to {name}\n"


@pytest.mark.parametrize("width", [20, 30, 40, 48, 56, 64, 80, 120, 400])
@pytest.mark.parametrize("name", ["a.jpg", "a-rather-long-name-of-a-photo.jpg", "folder/" * 20 + "photo.jpg"])
def test_numbers_are_whole_on_a_terminal_of_any_width(width: int, name: str) -> None:
    text = printed(records(name), width=width, terminal=True)
    assert all(number in text for number in NUMBERS)
    assert "…" not in text
    folded = "".join(re.sub(r"[\d,.]{6,}", "", line).strip() for line in text.splitlines())
    assert name[:8] in text.replace("\n", "") or name[:8] in folded


def test_records_are_stacked_where_numbers_would_not_fit() -> None:
    assert "similarity: 0.987654\nscene: a.jpg\n" in printed(records("a.jpg"), width=30, terminal=True)
