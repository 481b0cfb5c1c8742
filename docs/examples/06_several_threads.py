"""One open bundle, called by several threads: reading and searching overlap.

Run: python docs/examples/06_several_threads.py [FOLDER] [THREADS] [BUNDLE]
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mgts_trt import People, PersonSearch
from mgts_trt.pictures.folders import find_images
from mgts_trt.pictures.image import read_image


def main(folder: str = "docs/pictures/samples/store_aisle", threads: str = "2", bundle: str = "bundle") -> None:
    """Search a folder from several threads, and print who is where, in order."""
    paths = find_images(folder)

    # On the CPU each call takes one core, and the threads share the cores; on a GPU `threads` does not matter.
    with PersonSearch.open(bundle, mode="box", threads=1) as search, ThreadPoolExecutor(int(threads)) as pool:

        def search_file(path: Path) -> People:
            return search(read_image(path))  # no state between pictures: any thread may call it

        for path, people in zip(paths, pool.map(search_file, paths), strict=True):
            print(f"{path}: {len(people)} people")


main(*sys.argv[1:])
