"""Wrong keys: how many an address, and all of them together, may try."""

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_ADDRESSES = 4096


class Bucket:
    """So many at once, and so many a second after that.

    Args:
        burst: Tokens it holds.
        rate: Tokens a second that come back.
        clock: Seconds.
    """

    def __init__(self, burst: float, rate: float, clock: Callable[[], float]) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._left, self._at = burst, clock()

    def wait(self) -> float:
        """Seconds until there is a token; 0 if there is one."""
        now = self._clock()
        self._left, self._at = min(self._burst, self._left + (now - self._at) * self._rate), now
        return max(0.0, 1 - self._left) / self._rate

    def take(self) -> None:
        """Take one, after `wait` gave 0."""
        self._left -= 1


class Guesses:
    """Slows the guessing of the key that a service was given.

    Keys of the file are not held up by it: they say which hash they claim to be of, and their 256 bits are not guessed.
    An address that the right key has come from is not held up with that key, whatever others try.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = Bucket(100, 10, clock)
        self._addresses: OrderedDict[str, Bucket] = OrderedDict()
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def wait(self, address: str, key: str) -> float:
        """Seconds until a key of an address is looked at; 0: at once."""
        if self._pair(address, key) in self._right:
            return 0
        return max(self._bucket(address).wait(), self._all.wait())

    def wrong(self, address: str) -> None:
        """A key of an address was looked at, and wrong."""
        self._bucket(address).take()
        self._all.take()

    def right(self, address: str, key: str) -> None:
        """A key of an address was looked at, and right."""
        self._right[self._pair(address, key)] = None
        if len(self._right) > _MOST_ADDRESSES:
            self._right.popitem(last=False)

    def _bucket(self, address: str) -> Bucket:
        name = _neighbours(address)
        bucket = self._addresses.setdefault(name, Bucket(10, 1, self._clock))
        self._addresses.move_to_end(name)
        if len(self._addresses) > _MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return bucket

    @staticmethod
    def _pair(address: str, key: str) -> tuple[str, bytes]:
        return _neighbours(address), hashlib.sha256(key.encode()).digest()


def _neighbours(address: str) -> str:
    """An address; of IPv6 its network, in which one client has all addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
