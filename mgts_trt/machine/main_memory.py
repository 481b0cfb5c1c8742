"""The main memory of this machine."""

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
