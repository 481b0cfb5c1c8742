"""Pictures in a grid, each on a card with lines of text below, as the service's page shows a ranking."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.lettering import elide, text_width, write_text
from mgts_trt.pictures.palette import ACCENT, GROUND, LINE, MUTED, PICKED, SUNKEN, SURFACE, TEXT, rgb

_NARROWEST = 160
"""Pixels of a card's content; a line of some 20 letters."""
_SMALLEST = 9
"""Height of digits, pixels; on wide cards they are larger, since those are looked at scaled down."""


@dataclass(frozen=True)
class Card:
    """A picture and what is said about it.

    Attributes:
        picture: uint8 [h, w, 3], RGB, of any size.
        lines: Below it, from the top; of a pair one stands left and one right.
        notes: Further lines, in grey.
        bar: 0…1, drawn as a bar below the first line; None draws none.
        tag: A word in the picture's corner, which also sets the card off by a frame.
    """

    picture: Image
    lines: Sequence[str | tuple[str, str]] = ()
    notes: Sequence[str] = ()
    bar: float | None = None
    tag: str = ""


def picture_grid(cards: Sequence[Card], *, columns: int) -> Image:
    """Lay cards out in a grid.

    Every card is as large as the largest picture and the most lines need; pictures keep their size and are centred.
    All text has one height; a line too long for its card loses its middle.

    Args:
        cards: At least one.
        columns: Cards a row, at least 1.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: There is no card, or no column.
    """
    if not cards or columns < 1:
        raise ImageError(f"A grid of {len(cards)} pictures in {columns} columns was asked for. Ask for one of each.")
    size = _Size.of(cards)
    rows, columns = -(-len(cards) // columns), min(columns, len(cards))
    height, width = size.card_hw
    gap = size.pad
    shape = (gap + rows * (height + gap), gap + columns * (width + gap), 3)
    grid = np.empty(shape, np.uint8)
    grid[:] = rgb(GROUND)
    for number, card in enumerate(cards):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        _draw_card(grid[top : top + height, left : left + width], card, size)
    return grid


@dataclass(frozen=True)
class _Size:
    """What all cards of a grid share, pixels."""

    picture_hw: tuple[int, int]
    text: int
    """Height of digits."""
    lines: int
    bar: int
    """Height with its margin; 0 where no card has one."""

    @classmethod
    def of(cls, cards: Sequence[Card]) -> "_Size":
        height = max(card.picture.shape[0] for card in cards)
        width = max(_NARROWEST, *(card.picture.shape[1] for card in cards))
        text = max(_SMALLEST, round(width / 70))
        lines = max(len(card.lines) + len(card.notes) for card in cards)
        return cls((height, width), text, lines, 3 * text // 2 if any(card.bar is not None for card in cards) else 0)

    @property
    def pad(self) -> int:
        return self.text

    @property
    def line(self) -> int:
        return 2 * self.text

    @property
    def card_hw(self) -> tuple[int, int]:
        height, width = self.picture_hw
        text = self.line * self.lines + self.bar + self.pad // 2 if self.lines or self.bar else 0
        return height + text + 2 * self.pad, width + 2 * self.pad


def _draw_card(card: Image, content: Card, size: _Size) -> None:
    height, width = size.picture_hw
    pad = size.pad
    card[:] = rgb(SURFACE)
    _frame(card, LINE, 1)
    card[pad : pad + height, pad : pad + width] = rgb(SUNKEN)
    h, w = content.picture.shape[:2]
    y, x = pad + (height - h) // 2, pad + (width - w) // 2
    card[y : y + h, x : x + w] = content.picture
    baseline = pad + height + size.line
    for number, line in enumerate([*content.lines, *content.notes]):
        left, right = (line, "") if isinstance(line, str) else line
        colour = TEXT if number < len(content.lines) else MUTED
        taken = text_width(right, size.text) + size.text if right else 0
        write_text(card, elide(left, width - taken, size.text), pad, baseline, size.text, colour)
        write_text(card, right, pad + width - text_width(right, size.text), baseline, size.text, colour)
        if number == 0:
            if content.bar is not None:
                _bar(card[baseline + size.bar // 2 :][: size.text // 2, pad : pad + width], content.bar)
            baseline += size.bar
        baseline += size.line
    if content.tag:
        _frame(card, PICKED, max(3, size.text // 3))
        tag_width = text_width(content.tag, size.text) + size.text
        cv2.rectangle(card, (0, 0), (tag_width, 2 * size.text - 1), rgb(PICKED), cv2.FILLED)
        write_text(card, content.tag, size.text // 2, 3 * size.text // 2, size.text, TEXT)


def _frame(card: Image, colour: str, width: int) -> None:
    for edge in (card[:width], card[-width:], card[:, :width], card[:, -width:]):
        edge[:] = rgb(colour)


def _bar(place: Image, value: float) -> None:
    place[:] = rgb(SUNKEN)
    place[:, : round(float(np.clip(value, 0, 1)) * place.shape[1])] = rgb(ACCENT)
