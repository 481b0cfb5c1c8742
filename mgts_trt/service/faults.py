"""What a client is told of the library's errors."""

from typing import NamedTuple

from mgts_trt.errors import (
    FilterError,
    GalleryError,
    ImageError,
    MgtsError,
    ProtocolError,
    QueryError,
    SealedError,
    SourceError,
    TooLargeError,
)


class Fault(NamedTuple):
    """An answer that says no.

    Attributes:
        status: 400, 404 or 413 where the client can mend it or must live with it, 503 where the operator must.
        reason: One word for `/metrics`.
        sentence: For the client; empty where the error's own is meant for it.
    """

    status: int
    reason: str
    sentence: str = ""


_FAULTS: dict[type[MgtsError], Fault] = {
    ImageError: Fault(400, "picture"),
    TooLargeError: Fault(413, "pixels"),
    FilterError: Fault(400, "field"),
    QueryError: Fault(400, "field"),
    ProtocolError: Fault(400, "protocol"),
    SourceError: Fault(404, "scene"),
    SealedError: Fault(
        503,
        "sealed",
        "The gallery's pictures are encrypted, and the service was given no key that opens them. Whoever runs it can "
        "name it one.",
    ),
    GalleryError: Fault(503, "gallery", "The gallery cannot be read or written now. The service's log says why."),
    MgtsError: Fault(503, "pipeline", "Pictures cannot be searched now. The service's log says why."),
}


def fault_of(error: MgtsError) -> Fault:
    """The answer to a library error: that of the closest of its classes. Anything else is a defect, and 500."""
    return next(_FAULTS[kind] for kind in type(error).__mro__ if kind in _FAULTS)
