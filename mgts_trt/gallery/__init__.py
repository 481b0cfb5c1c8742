"""A gallery that lasts: the people of many pictures, their embeddings, and where each was seen.

Storing needs LanceDB: `pip install 'mgts-trt[gallery]'`. Nothing here imports it before a gallery is opened.
"""

from mgts_trt.gallery.entry import Entry, entry_of
from mgts_trt.gallery.filters import Filter, parse_filter
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.store import Gallery
from mgts_trt.gallery.summary import Summary
from mgts_trt.gallery.tables import Person

__all__ = ["Entry", "Filter", "Frame", "Gallery", "Person", "Sighting", "Space", "Summary", "entry_of", "parse_filter"]
