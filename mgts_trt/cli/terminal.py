"""A console that shows text as it is: no markup in names, no control characters, no number cut short."""

import copy
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mgts_trt.urls import masked

_UNBOUNDED = 1_000_000
"""Columns of what is no terminal: a file or a pipe has lines as long as they are."""

_LEAST_TEXT = 12
"""Columns that a column of words keeps when it is folded; with less, records are stacked."""

_JOINERS = "\u200c\u200d"
"""Invisible, but part of how words and emoji are written."""


def visible(text: str) -> str:
    r"""Text without characters that command a terminal, or that cannot be written: `\x1b`, `\n` and so on instead.

    A byte of a file name that is no UTF-8 shows as `\xff`; passwords in URLs are masked.
    """
    text = masked(text)
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) in ("Zs", "Cn", "Co"):
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # os.fsdecode keeps a byte that is no UTF-8 so
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text of several parts, each plain or `(text, style)`; what each holds is shown as it is."""
    return Text.assemble(*(visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts))


class Terminal(Console):
    """Prints strings as they are, whoever wrote them, and tables whole.

    Strings hold no markup, and what would command the terminal is shown instead (`visible`); styles come with `styled`.
    No line is wrapped here: a terminal does so itself, and what it shows can then be copied.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """A string as `Text`; rich calls this for all strings but those in a `Text`."""
        return super().render_str(visible(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is printed, in segments; a `Text` made elsewhere is made visible here."""
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                shown = "\n".join(visible(line) for line in segment.text.split("\n"))
                yield Segment(shown, segment.style)
            else:
                yield segment

    def print(self, *objects: Any, **how: Any) -> None:
        """As `Console.print`; lines are as long as they are, unless `soft_wrap=False`."""
        how.setdefault("soft_wrap", True)
        super().print(*objects, **how)


class Records(Table):
    """Rows of names and numbers that are never cut.

    In a file or pipe each row is one line. On a terminal that is too narrow, columns of words are folded; where numbers
    would not fit even so, each row is stacked, one line a column.
    """

    def __init__(self, *headings: str, title: str | None = None) -> None:
        """Make an empty table; a heading that begins with `>` aligns its column to the right: numbers."""
        super().__init__(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        self.heading: RenderableType | None = None if title is None else Text(_lines(title), "bold")
        self.note: str | None = None
        for heading in headings:
            right = heading.startswith(">")
            self.add_column(heading.removeprefix(">"), justify="right" if right else "left", no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, the rows in the form that fits, the note."""
        if self.heading is not None:
            yield self.heading
        yield from self._rows(console, options)
        if self.note is not None:
            yield Text(_lines(self.note), "italic dim")

    def _rows(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=_UNBOUNDED)
        natural = super().__rich_measure__(console, unbounded).maximum
        if not console.is_terminal or natural <= options.max_width:
            yield from super().__rich_console__(console, unbounded)
            return
        excess = natural - options.max_width
        folded = copy.copy(self)
        folded.columns = [copy.copy(column) for column in self.columns]
        for column in folded.columns:
            column.no_wrap, column.overflow = column.justify == "right", "fold"
        room = sum(max(self._natural(console, unbounded, i) - _LEAST_TEXT, 0) for i in self._words())
        if excess <= room:
            yield from Table.__rich_console__(folded, console, options)
        else:
            yield from self._stacked(console)

    def _words(self) -> list[int]:
        return [i for i, column in enumerate(self.columns) if column.justify != "right"]

    def _natural(self, console: Console, options: ConsoleOptions, column: int) -> int:
        return max(
            (Measurement.get(console, options, cell).maximum for cell in self.columns[column].cells),
            default=0,
        )

    def _stacked(self, console: Console) -> Iterator[Text]:
        names = [_text(console, column.header) for column in self.columns]
        for row in zip(*(column.cells for column in self.columns), strict=True):
            for name, cell in zip(names, row, strict=True):
                value = _text(console, cell)
                if value.plain:
                    yield Text.assemble((f"{name.plain}: " if name.plain else "", "dim"), value)
            yield Text()


def _text(console: Console, cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell))


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))
