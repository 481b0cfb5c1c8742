"""Where things lie in memory that several of them use one after another."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Room(Generic[Key]):
    """What something takes, and how long.

    Attributes:
        key: What it is for.
        size: Bytes.
        first: The step that fills it.
        last: The last step that needs it, at least `first`. Afterwards its room is free again.
    """

    key: Key
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Layout(Generic[Key]):
    """Where each lies.

    Attributes:
        offsets: From the start, bytes.
        size: Of all, bytes.
    """

    offsets: dict[Key, int]
    size: int


def lay_out(rooms: Iterable[Room[Key]], alignment: int) -> Layout[Key]:
    """Give each a place that nothing else has in the steps between its first and its last.

    The largest come first, each at the lowest place that is free for all its steps (Pisarchyk & Lee, "Efficient Memory
    Management for Deep Neural Net Inference", 2020: greedy by size). That is not always the least there could be, and
    never more than all together.

    Args:
        rooms: With different keys.
        alignment: Of every offset, bytes.
    """
    placed: list[tuple[int, int, Room[Key]]] = []
    for room in sorted(rooms, key=lambda room: -room.size):
        offset, end = 0, -(-room.size // alignment) * alignment
        for start, stop, other in sorted(placed, key=lambda each: each[0]):
            at_once = room.first <= other.last and other.first <= room.last
            if at_once and start < end and offset < stop:
                offset, end = stop, stop + end - offset
        placed.append((offset, end, room))
    return Layout({room.key: offset for offset, _, room in placed}, max((end for _, end, _ in placed), default=0))
