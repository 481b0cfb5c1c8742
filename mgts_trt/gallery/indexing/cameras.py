"""How live cameras are doing: up since when, how many frames were taken and dropped, how often they came back."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from mgts_trt._typing import Self
from mgts_trt.gallery.indexing.sources import Source

Standing: TypeAlias = Literal["opening", "up", "down", "ended"]


@dataclass(frozen=True)
class CameraState:
    """How one camera is doing.

    Attributes:
        source: Its URL, without user name and password.
        camera: Its name, if it has one.
        standing: `opening` until its first frame or failure, `up`, `down`, or `ended`: watched no more.
        since: When that began, Unix seconds.
        last_frame: When the last frame came, Unix seconds.
        taken: Frames handed on to be searched.
        dropped: Frames that gave way to newer ones, since none was searched in time.
        restarts: How often it came back after it had been up.
        error: Why it is down, or what ended it; a sentence without user name and password.
        told: When all this was so, Unix seconds.
    """

    source: str
    camera: str | None = None
    standing: Standing = "opening"
    since: float = 0.0
    last_frame: float | None = None
    taken: int = 0
    dropped: int = 0
    restarts: int = 0
    error: str | None = None
    told: float = 0.0

    @property
    def name(self) -> str:
        """What to call it: its name, or else its URL."""
        return self.camera or self.source

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """From what `Cameras.as_dicts` gave, here or in another version: what is not known is left out."""
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told})


class Cameras:
    """The states of several cameras. Threads may read and write at once.

    Args:
        on_change: Called in the camera's thread after it went up or down, or ended, and after each of its frames;
            with its state, and whether it is of another standing than before.
    """

    def __init__(self, on_change: Callable[[CameraState, bool], None] = lambda state, other: None) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, CameraState] = {}
        self._on_change = on_change

    def add(self, source: Source) -> "Camera":
        """A camera that is going to be watched; of one added before, the state begins anew."""
        now = time.time()
        with self._lock:
            self._states[source.location] = CameraState(source.name, source.camera, since=now, told=now)
        return Camera(self, source.location)

    def states(self) -> list[CameraState]:
        """The states of all, in the order they were added."""
        now = time.time()
        with self._lock:
            return [replace(state, told=now) for state in self._states.values()]

    def as_dicts(self) -> list[dict[str, Any]]:
        """The same, as JSON takes them."""
        return [asdict(state) for state in self.states()]

    def update(self, key: str, change: Callable[[CameraState], CameraState]) -> CameraState:
        """Replace a camera's state by what a function makes of it."""
        with self._lock:
            before = self._states[key]
            after = self._states[key] = replace(change(before), told=time.time())
        self._on_change(after, before.standing != after.standing)
        return after


class Camera:
    """What the thread that watches a camera tells of it. Made by `Cameras.add`."""

    def __init__(self, cameras: Cameras, key: str) -> None:
        self._cameras, self._key = cameras, key

    def up(self, now: float) -> CameraState:
        """A frame came at this time, Unix seconds; it is up. Returns the state before."""
        before: list[CameraState] = []

        def change(state: CameraState) -> CameraState:
            before.append(state)
            if state.standing == "up":
                return replace(state, last_frame=now)
            restarts = state.restarts + (state.last_frame is not None)
            return replace(state, standing="up", since=now, last_frame=now, restarts=restarts, error=None)

        self._cameras.update(self._key, change)
        return before[0]

    def took(self, frames: int, dropped: int) -> None:
        """So many frames more, or less, are taken, and so many more dropped."""
        self._cameras.update(
            self._key, lambda state: replace(state, taken=state.taken + frames, dropped=state.dropped + dropped)
        )

    def down(self, why: str) -> None:
        """It broke, stalled, or cannot be opened."""
        self._change("down", why)

    def ended(self, why: str | None = None) -> None:
        """It is watched no more."""
        self._change("ended", why)

    def _change(self, standing: Standing, why: str | None) -> None:
        def change(state: CameraState) -> CameraState:
            since = state.since if state.standing == standing else time.time()
            return replace(state, standing=standing, since=since, error=why)

        self._cameras.update(self._key, change)


def up_of(states: Iterable[CameraState]) -> int:
    """How many are up."""
    return sum(state.standing == "up" for state in states)


def told_in_words(state: CameraState) -> str:
    """`up since 2026-11-28 21:03:11, last frame 21:14:03; 1,234 frames taken, 12 dropped, 1 restart`, in local time."""
    since = clock_time(state.since)
    parts = [f"{state.standing} since {since}"]
    if state.last_frame is not None:
        last = clock_time(state.last_frame)
        parts.append(f"last frame {last[11:] if last[:10] == since[:10] else last}")
    counts = [f"{state.taken:,} {'frame' if state.taken == 1 else 'frames'} taken", f"{state.dropped:,} dropped"]
    counts += [f"{state.restarts:,} {'restart' if state.restarts == 1 else 'restarts'}"]
    told = f"{', '.join(parts)}; {', '.join(counts)}"
    return f"{told}; {state.error}" if state.error else told


def clock_time(seconds: float) -> str:
    """Unix seconds as local date and time, `2026-11-28 21:03:11`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
