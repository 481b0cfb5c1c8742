"""A gallery that lasts: the people of a folder put into it, and one person found in it again.

Run: python docs/examples/04_a_gallery.py [PHOTO@x1,y1,x2,y2] [FOLDER] [GALLERY] [BUNDLE]    (extra: gallery)
"""

import sys

from mgts_trt import PersonSearch
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.probe import find_probe, parse_query
from mgts_trt.gallery.ranking import rank_gallery


def main(
    query: str = "docs/pictures/samples/store_aisle/0000.jpg@240,63,320,231",
    folder: str = "docs/pictures/samples/store_aisle",
    gallery: str = "out/gallery",
    bundle: str = "bundle",
) -> None:
    """Index the folder, then print the five people most similar to the probe."""
    with (
        PersonSearch.open(bundle, mode="net") as search,
        Gallery.create(gallery, Space.of(search.bundle, search.mode)) as store,
    ):
        report = index(search, find_sources([folder]), store)  # run again, it skips what is there
        print(f"{report.frames} pictures with {report.people} people indexed, {report.skipped} were there already")

        probe = find_probe(search, *parse_query(query))
        for match in rank_gallery(store, probe, top=5).matches:  # the probe's own photo is left out
            print(f"{match.likeness:.3f}  {match.source}  {match.box.round().astype(int).tolist()}")


main(*sys.argv[1:])
