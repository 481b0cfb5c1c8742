"""What the files under `Gallery` need of one that is open."""

from typing import Any, Protocol

from mgts_trt.gallery.disk.checksums import Checksums
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.encryption import Encryption


class Placed(Protocol):
    """A gallery, or a folder of them.

    Attributes:
        url: Where it is.
        place: Its folder, and who writes in it.
    """

    url: str
    place: Place


class Opened(Placed, Protocol):
    """A `Gallery`, seen from below.

    Attributes:
        checksums: Of its files.
        encryption: Of its pictures.
    """

    checksums: Checksums
    encryption: Encryption

    @property
    def tables(self) -> tuple[Any, Any]:
        """LanceDB's tables `people` and `frames`."""

    @property
    def sightings(self) -> Any | None:
        """LanceDB's table `sightings`; None where the gallery has none."""
