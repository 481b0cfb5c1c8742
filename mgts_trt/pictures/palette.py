"""Colours of what this project draws: the service's page has the same.

Each is a hexadecimal colour as CSS and matplotlib take it; `rgb` gives what pictures are made of.
"""

GROUND, SURFACE, SUNKEN = "#f5f6f8", "#ffffff", "#e9ecf0"
TEXT, MUTED = "#1a1f26", "#566170"
LINE, CONTROL = "#d5dae1", "#7d8896"
ACCENT, PICKED = "#0b62b8", "#ffd43b"
"""The light colours of `service/page/style.css`, by their names there."""

PEOPLE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Okabe and Ito's colours, told apart in all common forms of colour blindness."""

STAGES = {
    "letterbox": CONTROL,
    "detector": "#0072b2",
    "masknet": "#009e73",
    "joint": "#784bd2",
    "separate": "#cc79a7",
    "reid": "#de6300",
}
"""One colour a stage in every plot and table: Okabe and Ito's, or nearly, that show on white and on a dark ground."""


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as red, green, blue, each 0…255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def luminance(colour: str) -> float:
    """Relative luminance, 0 (black) … 1 (white), as WCAG 2 defines it for contrasts."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Of two colours, 1 (the same) … 21 (black on white), as WCAG 2 defines it: text needs 4.5, shapes 3."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """The text colour that shows better on it: dark or white."""
    return max((TEXT, SURFACE), key=lambda ink: contrast(ink, colour))
