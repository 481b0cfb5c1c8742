"""Person search over composed scenes, where it is known who is where: queries, and galleries of any size."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import MgtsError
from training.data.protocols import Query
from training.data.scene import UNKNOWN, Scenes

MATCHES = 7
"""Most true matches in a gallery of `sample_galleries`; 99 % of CUHK-SYSU's queries have no more."""


class GalleryError(MgtsError):
    """A search that the scenes do not hold."""


class Search(NamedTuple):
    """Whom to search for, and the pictures by name."""

    queries: list[Query]
    picture: Callable[[str], Image]


def search_scenes(scenes: Scenes, *, on_step: Callable[[], None] = lambda: None) -> Search:
    """Every identity that at least two scenes show is searched for once, by its first appearance.

    The gallery is every scene but the query's own. Where a scene shows a person twice, the first box counts.

    Args:
        scenes: With identities; read once, whole, and again for each picture that is asked for.
        on_step: Called after each scene.

    Raises:
        GalleryError: No identity occurs in two scenes.
    """
    numbers: dict[str, int] = {}
    cameras: list[int] = []
    sightings: dict[int, dict[str, Floats]] = {}
    for number in range(len(scenes)):
        scene = scenes[number]
        numbers[scene.name] = number
        cameras.append(scene.camera)
        for identity, box in zip(scene.identities.tolist(), scene.boxes, strict=True):
            if identity != UNKNOWN:
                sightings.setdefault(identity, {}).setdefault(scene.name, box)
        on_step()
    queries = []
    for identity, boxes in sorted(sightings.items()):
        own = next(iter(boxes))
        if len(boxes) > 1:
            gallery = [(name, boxes.get(name)) for name in numbers if name != own]
            queries.append(Query(own, boxes[own], identity, cameras[numbers[own]], gallery))
    if not queries:
        raise GalleryError(
            f"No identity occurs in two of the {len(scenes)} scenes, so there is nobody to search for. Make more with "
            "--scenes."
        )
    return Search(queries, lambda name: scenes[numbers[name]].image)


def sample_galleries(queries: Sequence[Query], size: int, *, seed: int = 0) -> list[Query]:
    """The queries with galleries of `size` images, drawn at random from their own.

    Whatever its size, a gallery holds the first `MATCHES` scenes that show the person, or as many as there are, and
    otherwise scenes that do not; a larger one holds all of a smaller. So nothing differs between sizes but the number
    of scenes to be told apart.

    Args:
        queries: Of `search_scenes`.
        size: Images a gallery, more than `MATCHES`.
        seed: Of the choice.

    Raises:
        GalleryError: A gallery does not hold so many images, or `size` leaves no room for others than the matches.
    """
    if size <= MATCHES:
        raise GalleryError(f"Galleries of {size} images were asked for, but up to {MATCHES} may show the person.")
    sampled = []
    for number, query in enumerate(queries):
        matches = [entry for entry in query.gallery if entry[1] is not None][:MATCHES]
        others = [entry for entry in query.gallery if entry[1] is None]
        if len(matches) + len(others) < size:
            raise GalleryError(
                f"A gallery of {size} images was asked for, but only {len(matches) + len(others)} are to be had for "
                f"identity {query.identity}: {len(others)} without the person, and {len(matches)} with. Make more "
                "scenes with --scenes, or ask for smaller --sizes."
            )
        order = np.random.default_rng([seed, number]).permutation(len(others))
        sampled.append(replace(query, gallery=matches + [others[i] for i in order[: size - len(matches)]]))
    return sampled
