"""Whether a key that somebody thought of can be guessed."""

import re

SHORTEST = 16
"""Characters a key has at least."""
_SYMBOLS, _DISTINCT = 12, 6
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORDS = re.compile(
    "password|passwort|passw0rd|p@ssw0rd|secret|geheim|changeme|welcome|default|letmein|dragon|monkey|master|login|"
    "admin|user|root|test|demo|token|api|key|mgts|trt|camera|gallery|service|20[0-9][0-9]"
)


def weakness(key: str) -> str | None:
    """Why a key can be guessed, as the end of a sentence that begins with the key; None if it is not known to be so.

    Repetitions, runs of the alphabet, of digits and of keyboards, and the words that are tried first count as one
    character each. Other words pass: only chance makes a key that nobody guesses.
    """
    if len(key) < SHORTEST:
        return f"has {len(key)} characters, at least {SHORTEST} are expected: shorter ones can be guessed"
    symbols = _WORDS.sub("¤", _without_runs(_without_repeats(key.lower())))
    if len(symbols) < _SYMBOLS or len(set(symbols)) < _DISTINCT:
        return "can be guessed: it repeats itself, or is made of what is tried first"
    return None


def _without_repeats(text: str) -> str:
    """A text that is one part again and again, as that part; characters three times or more in a row, once."""
    period = (text + text).find(text, 1)
    return re.sub(r"(.)\1{2,}", r"\1", text[:period])


def _without_runs(text: str) -> str:
    """Four or more neighbours of a row, in either direction, as one character."""
    for row in (*_ROWS, *(row[::-1] for row in _ROWS)):
        for length in range(len(row), 3, -1):
            for start in range(len(row) - length + 1):
                text = text.replace(row[start : start + length], "¤")
    return text
