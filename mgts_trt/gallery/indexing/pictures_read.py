"""The pictures among what threads read, as a pipeline's stream takes them."""

from abc import abstractmethod
from collections import deque

from mgts_trt._typing import Image
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.reading import Picture, Read
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.runtime.stream import ReadAhead


class PicturesRead(ReadAhead):
    """Pictures out of a channel; what else comes is for `told`.

    Args:
        read: What the threads hand over.

    Attributes:
        flying: Pictures whose people are not known yet, in order.
    """

    def __init__(self, read: Channel[Read]) -> None:
        self.flying: deque[Picture] = deque()
        self._read = read
        self._next: Picture | None = None

    @abstractmethod
    def told(self, item: Read) -> None:
        """Take what is no picture."""

    def taken(self, picture: Picture) -> None:  # most need not know
        """Called before a picture is handed out."""

    def ready(self) -> bool:
        """See `ReadAhead.ready`."""
        self._next = self._next or self._find(0.0)
        return self._next is not None

    def __next__(self) -> Image | DevicePicture:
        picture, self._next = self._next or self._find(None), None
        if picture is None:
            raise StopIteration
        self.taken(picture)
        self.flying.append(picture)
        return picture.image

    def _find(self, timeout: float | None) -> Picture | None:
        """The next picture; None when there is none in time, or none will come."""
        while (item := self._read.get(timeout)) is not None:
            if isinstance(item, Picture):
                return item
            self.told(item)
        return None
