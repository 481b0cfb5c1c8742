"""Whether this is a Jetson, and which JetPack is on it."""

import re
from dataclasses import dataclass
from pathlib import Path

RELEASE = Path("/etc/nv_tegra_release")
MODEL = Path("/proc/device-tree/model")

_JETPACKS = {36: 6, 38: 7, 39: 7}
"""Of Jetson Linux, by the first number of its release; older ones are not told apart."""


@dataclass(frozen=True)
class Jetson:
    """A Jetson.

    Attributes:
        model: As its device tree names it: `NVIDIA Jetson AGX Orin Developer Kit`.
        release: Of Jetson Linux: `(36, "4.3")`.
    """

    model: str
    release: tuple[int, str]

    @property
    def jetpack(self) -> int | None:
        """JetPack's major version, 6 or newer; None for older ones."""
        newest = max(_JETPACKS)
        return _JETPACKS.get(min(self.release[0], newest))

    def __str__(self) -> str:
        jetpack = f"JetPack {self.jetpack}" if self.jetpack else "a JetPack before 6"
        return f"{self.model}, Jetson Linux {self.release[0]}.{self.release[1]} ({jetpack})"


def find_jetson() -> Jetson | None:
    """The Jetson this is, or None."""
    try:
        text = RELEASE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    if found is None:
        return None
    try:
        model = MODEL.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        model = ""
    return Jetson(model or "a Jetson", (int(found[1]), found[2]))
