"""Who is in a photo: boxes, scores, masks, and an embedding of each person.

Run: python docs/examples/01_one_photo.py [PHOTO] [OUT] [BUNDLE]
"""

import sys
from pathlib import Path

from mgts_trt import PersonSearch
from mgts_trt.pictures.image import read_image, write_image


def main(
    photo: str = "docs/pictures/samples/17790319373_bd19b24cfc_k.jpg", out: str = "out", bundle: str = "bundle"
) -> None:
    """Print a line a person, best first, and draw them all."""
    image = read_image(photo)  # uint8 [H, W, 3], RGB

    with PersonSearch.open(bundle, mode="net") as search:
        print(search.runtime)  # which backend, on what, and why
        people = search(image)

    for i in range(len(people)):
        box = people.boxes[i].round().astype(int).tolist()  # x1, y1, x2, y2 in pixels of the photo
        similarity = people.embeddings[i] @ people.embeddings[0]  # a cosine: 1 is the same
        print(f"{people.scores[i]:.2f}  {box}  {people.mask(i).sum()} pixels, {similarity:.2f} like the first")

    Path(out).mkdir(parents=True, exist_ok=True)
    write_image(Path(out, "people.jpg"), people.draw(image))


main(*sys.argv[1:])
