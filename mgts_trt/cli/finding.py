"""One thing that `doctor` has looked at, and how all of them are shown."""

from dataclasses import dataclass
from typing import Literal

from rich.text import Text

State = Literal["ok", "info", "problem"]

_COLOURS: dict[State, str] = {"ok": "green", "info": "cyan", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: What it belongs to: `system`, `GPU`, `TensorRT`, `bundle`, …
        state: `info` is worth knowing and hinders nothing; a `problem` does.
        text: For people.
        cure: The command that mends it; every problem has one.
    """

    area: str
    state: State
    text: str
    cure: str | None = None


def report(findings: list[Finding]) -> Text:
    """For people: a line a finding; a cure on a line of its own, ready to be copied."""
    lines = Text()
    width = max((len(finding.area) for finding in findings), default=0)
    for finding in findings:
        lines.append(f"{finding.state:<8}", style=_COLOURS[finding.state])
        lines.append(f"{finding.area:<{width}}  ", style="bold")
        lines.append(f"{finding.text}\n")
        if finding.cure:
            lines.append(f"{'':<{8 + width}}  $ {finding.cure}\n", style="cyan")
    lines.rstrip()
    return lines
