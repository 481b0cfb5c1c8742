"""An own threshold for who counts: stricter than the bundle's, looser, or by something else than the score.

Run: python docs/examples/08_own_thresholds.py [PHOTO] [BUNDLE]
"""

import sys

from mgts_trt import PersonSearch, read_image


def main(photo: str = "docs/pictures/samples/17790319373_bd19b24cfc_k.jpg", bundle: str = "bundle") -> None:
    """Print how many people a photo holds by four measures."""
    image = read_image(photo)

    with PersonSearch.open(bundle, mode="net") as search:
        people = search(image)  # those who reach the bundle's own threshold, best first
        best = search(image, top=20)  # the 20 best, whatever their score

    sure = people[people.scores >= 0.95]  # boxes, masks, embeddings and all else of some of the people
    maybe = best[best.scores >= 0.2]
    large = people[people.boxes[:, 3] - people.boxes[:, 1] >= 240]

    print(f"{len(people)} people by the bundle's threshold of {search.bundle.manifest.thresholds.detection}")
    print(f"{len(sure)} from a score of 0.95, at {sure.boxes.round().astype(int).tolist()}")
    print(f"{len(maybe)} from a score of 0.2, the last with {maybe.scores.min(initial=1):.2f}")
    print(f"{len(large)} of 240 pixels or more in height")


main(*sys.argv[1:])
