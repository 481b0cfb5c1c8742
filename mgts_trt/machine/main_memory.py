"""The main memory of this machine."""

import ctypes
from contextlib import suppress
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Bytes that programs can still take without swapping, as the kernel estimates; None where it does not say."""
    try:
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) << 10  # "1234 kB", which are KiB
    except (OSError, ValueError, IndexError):
        pass
    return None


def give_back() -> None:
    """Give memory that was freed back to the system. glibc keeps it, in pieces, for each thread that ever took some."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
