"""What tells of rows, as bytes, and the search for many such traces at once in files of any size."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mgts_trt._typing import Array

LEAST, SHORTEST = 16, 6
"""Bytes of a trace that is searched for word by word; and of one that says anything at all."""

_WORD, _BLOCK = 8, 1 << 24

_LEAST_BITS, _MOST_BITS = 16, 24
"""Of the number of places that words are hashed to."""


class Traces:
    """A set of byte strings to be found wherever they lie.

    Of each trace at least 15 bytes long, whatever its place in a file, one of the file's aligned words of 8 bytes lies
    whole in its last 15 bytes: those eight words are looked up, and then the trace itself is compared.

    Args:
        traces: Those shorter than `SHORTEST` bytes, or of fewer than four different ones, are left out.
    """

    def __init__(self, traces: Iterable[bytes]) -> None:
        kept = sorted({trace for trace in traces if len(trace) >= SHORTEST and len(set(trace)) > 3})
        self._long = [trace for trace in kept if len(trace) >= LEAST]
        self._short = [trace for trace in kept if len(trace) < LEAST]
        tails = np.array([list(trace[-15:]) for trace in self._long], np.uint8).reshape(-1, 15)
        words = np.concatenate([tails[:, i : i + _WORD] for i in range(_WORD)]) if len(tails) else tails[:, :_WORD]
        values = np.ascontiguousarray(words).view("<u8").ravel()
        order = np.argsort(values, kind="stable")
        self._words = values[order]
        count = len(self._long)
        self._of, self._shift = order % max(1, count), order // max(1, count)
        # So many that a word of something else seldom meets one: each that does is looked for among all.
        self._bits = min(max((32 * len(values)).bit_length(), _LEAST_BITS), _MOST_BITS)
        self._maybe = np.zeros(1 << self._bits, bool)
        self._maybe[_hashed(self._words, self._bits)] = True

    def __len__(self) -> int:
        return len(self._long) + len(self._short)

    def within(self, data: bytes | memoryview) -> set[bytes]:
        """Which traces are in some bytes."""
        whole = bytes(data)
        found = {trace for trace in self._short if trace in whole}
        aligned = np.frombuffer(whole, "<u8", count=len(whole) // _WORD)
        candidates = np.flatnonzero(self._maybe.take(_hashed(aligned, self._bits)))
        first = np.searchsorted(self._words, aligned[candidates], "left")
        last = np.searchsorted(self._words, aligned[candidates], "right")
        for at, low, high in zip(candidates[last > first], first[last > first], last[last > first], strict=True):
            for i in range(low, high):
                trace = self._long[self._of[i]]
                end = int(at) * _WORD - int(self._shift[i]) + 15
                if trace not in found and end >= len(trace) and whole[end - len(trace) : end] == trace:
                    found.add(trace)
        return found

    def within_file(self, path: Path) -> set[bytes]:
        """Which traces are in a file."""
        longest = -(-max(map(len, [*self._long, *self._short]), default=0) // _WORD) * _WORD
        found, before = set[bytes](), b""
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found |= self.within(before + block)
                before = block[-longest:] if longest else b""
        return found


def vector_traces(vectors: Array) -> Iterator[bytes]:
    """Of embeddings, float32 [N, d]: four numbers of each as tables hold them, and several fours as indices do.

    Indices hold them at length 1, rounded here and there otherwise than here.
    """
    values, unit = np.ascontiguousarray(vectors, np.float32), unit_vectors(vectors)
    for columns in range(0, min(values.shape[1], 16) - 3, 4):
        yield from (row.tobytes() for row in unit[:, columns : columns + 4])
    yield from (row.tobytes() for row in values[:, :4])


def unit_vectors(vectors: Array) -> Array:
    """Embeddings at length 1, float32 [N, d]."""
    values = np.ascontiguousarray(vectors, np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1), np.float32)


def picture_trace(jpeg: bytes) -> bytes:
    """The part of a picture that is most its own: JPEGs begin alike, and have even places."""
    if len(jpeg) < LEAST:
        return b""
    places: Sequence[int] = range(0, len(jpeg) - 31, max(1, (len(jpeg) - 31) // 16)) if len(jpeg) > 64 else [0]
    return max((jpeg[at : at + 32] for at in places), key=lambda part: len(set(part)))


def _hashed(words: Array, bits: int) -> Array:
    """Places of words in a table of 2 ** bits."""
    with np.errstate(over="ignore"):
        return ((words * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)).view(np.int64)
