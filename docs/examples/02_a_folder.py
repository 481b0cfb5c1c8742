"""A folder of photos, searched one by one: a photo that cannot be read costs itself alone.

Run: python docs/examples/02_a_folder.py [FOLDER] [OUT] [BUNDLE]
"""

import json
import sys
from pathlib import Path

from mgts_trt import PersonSearch
from mgts_trt.errors import ImageError
from mgts_trt.pictures.folders import find_images
from mgts_trt.pictures.image import read_image


def main(folder: str = "docs/pictures/samples", out: str = "out", bundle: str = "bundle") -> None:
    """Write who is in each photo to one JSON file."""
    found, skipped = {}, 0

    with PersonSearch.open(bundle, mode="net") as search:
        for path in find_images(folder):  # in folders below, too; sorted
            try:
                people = search(read_image(path))
            except ImageError as error:  # says what is wrong with it, and what to do
                print(f"skipped: {error}", file=sys.stderr)
                skipped += 1
                continue
            found[str(path)] = people.to_dict()
            print(f"{path}: {len(people)} people in {people.timings['total']:.0f} ms")

    Path(out).mkdir(parents=True, exist_ok=True)
    Path(out, "people.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"{len(found)} photos searched, {skipped} skipped")


main(*sys.argv[1:])
