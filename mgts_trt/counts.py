"""Numbers of things in words, so that one is `1 person` and not `1 people`."""


def people_of(count: int) -> str:
    """`1 person`, `1,024 people`."""
    return f"{count:,} {'person' if count == 1 else 'people'}"


def frames_of(count: int) -> str:
    """`1 frame`, `1,024 frames`."""
    return f"{count:,} {'frame' if count == 1 else 'frames'}"
