"""Which people of a gallery to search: `camera=3,time>=10,source~shop`."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from mgts_trt.errors import FilterError

if TYPE_CHECKING:
    from lancedb.expr import Expr

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]

_OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=", "~")

TEXTS = ("source", "camera", "sha256")
NUMBERS = ("number", "time", "score")
FIELDS = (*TEXTS, *NUMBERS)
"""What conditions may name; see `Person`."""

_BOUNDS = {
    "number": ("first_number", "last_number"),
    "time": ("first_time", "last_time"),
    "score": ("least_score", "greatest_score"),
}
"""Columns of `sightings` between which a number lies."""

_CONDITION = re.compile(
    r"""\s* (?P<field>\w+) \s* (?P<operator>!=|<=|>=|=|<|>|~) \s*
        (?: "(?P<quoted>[^"]*)" | (?P<bare>[^,"]*?) ) \s* (?P<more>,|$)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Condition:
    """One comparison of a field with a value."""

    field: str
    operator: Operator
    value: str | int | float


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold. What a person lacks, a camera for one, fulfils no condition."""

    conditions: tuple[Condition, ...]

    @property
    def selective(self) -> bool:
        """Whether it may leave few people: a condition with != alone passes over some."""
        return any(condition.operator != "!=" for condition in self.conditions)

    def expression(self) -> "Expr":
        """As LanceDB takes it. Values stay values: they are never part of a text that is parsed."""
        return _all([_expression(condition.field, condition) for condition in self.conditions])

    def of_sightings(self) -> "Expr":
        """The same of sightings: each condition must hold somewhere between a sighting's first frame and its last."""
        return _all([_of_sighting(condition) for condition in self.conditions])


def parse_filter(text: str) -> Filter:
    """Read conditions with commas between them, all of which must hold.

    `=` `!=` `<` `<=` `>` `>=` compare; `~` asks whether a text contains another. Fields are source, camera and sha256
    (texts), number, time and score (numbers). A value with a comma stands in double quotes.

    Raises:
        FilterError: Not such a text, a field there is not, or a value or operator that does not fit the field.
    """
    conditions: list[Condition] = []
    position, more = 0, True
    while more:
        match = _CONDITION.match(text, position)
        if match is None:
            raise FilterError(
                f"The filter {text!r} cannot be read from {text[position:]!r} on; conditions such as camera=3 or "
                'time>=10 or source~"a, b" are expected, with commas between them.'
            )
        quoted = match["quoted"]
        operator = next(known for known in _OPERATORS if known == match["operator"])
        conditions.append(_condition(match["field"], operator, match["bare"] if quoted is None else quoted))
        position, more = match.end(), bool(match["more"])
    return Filter(tuple(conditions))


def _condition(field: str, operator: Operator, value: str) -> Condition:
    if field not in FIELDS:
        raise FilterError(f"There is no field {field!r} to filter by; there are {', '.join(FIELDS)}.")
    if field in TEXTS:
        if operator not in ("=", "!=", "~"):
            raise FilterError(f"{field} is a text: {operator} does not apply. Use =, != or ~ (contains).")
        return Condition(field, operator, value)
    if operator == "~":
        raise FilterError(f"{field} is a number: ~ (contains) does not apply. Use =, !=, <, <=, > or >=.")
    return Condition(field, operator, _whole(value) if field == "number" else _real(field, value))


def _whole(value: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise FilterError(f"number counts frames, but the filter compares it with {value!r}. Name a whole number.")
    return int(value)


def _real(field: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FilterError(f"{field} is a number, but the filter compares it with {value!r}. Name a number.")
    return number


def _all(expressions: "list[Expr]") -> "Expr":
    whole = expressions[0]
    for expression in expressions[1:]:
        whole = whole & expression
    return whole


def _of_sighting(condition: Condition) -> "Expr":
    if condition.field not in _BOUNDS:
        return _expression(condition.field, condition)
    least, greatest = _BOUNDS[condition.field]
    match condition.operator:
        case "<" | "<=":
            return _expression(least, condition)
        case ">" | ">=":
            return _expression(greatest, condition)
        case "!=":
            return _expression(least, condition) | _expression(greatest, condition)
        case _:
            reached = replace(condition, operator=">=")
            return _expression(least, replace(condition, operator="<=")) & _expression(greatest, reached)


def _expression(field: str, condition: Condition) -> "Expr":
    from lancedb.expr import col, lit

    column, value = col(field), lit(condition.value)
    match condition.operator:
        case "=":
            return column == value
        case "!=":
            return column != value
        case "<":
            return column < value
        case "<=":
            return column <= value
        case ">":
            return column > value
        case ">=":
            return column >= value
        case "~":
            return column.contains(value)
