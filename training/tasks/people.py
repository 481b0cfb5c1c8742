"""Who is in a dataset, and in what order re-ID looks at them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array
from mgts_trt.errors import MgtsError
from mgts_trt.stages import Letterbox
from training.data.scene import UNKNOWN, Scenes

Order = Literal["people", "scenes", "identities"]


class ReidTaskError(MgtsError):
    """A re-ID training that cannot be: a senseless combination, or a dataset without what it needs."""


@dataclass(frozen=True)
class People:
    """Everybody in a dataset who has a pixel on the canvas: P people as int64 [P] each, and whether any has a mask."""

    scenes: NDArray[np.int64]
    rows: NDArray[np.int64]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    masks: bool


def find_people(scenes: Scenes, canvas_hw: tuple[int, int], *, readers: int = 4) -> People:
    """Look through a dataset for all people that cover at least a pixel of the canvas, as the pipeline asks of them.

    Raises:
        ReidTaskError: An identity that the dataset does not count.
    """

    def look(number: int) -> tuple[NDArray[np.int64], Array, int, bool]:
        scene = scenes[number]
        letterbox = Letterbox((scene.image.shape[0], scene.image.shape[1]), canvas_hw)
        boxes = letterbox.clip(letterbox.to_canvas(scene.boxes))
        rows = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1))
        identities = scene.identities[rows]
        wrong = identities[(identities < UNKNOWN) | (identities >= scenes.identity_count)]
        if len(wrong):
            raise ReidTaskError(
                f"Scene {scene.name} has the identity {wrong[0]}, but the dataset counts {scenes.identity_count}: "
                f"identities are 0 … L−1, or {UNKNOWN}. Mend the dataset."
            )
        return rows, identities, scene.camera, scene.instances is not None

    with ThreadPoolExecutor(readers) as pool:
        found = list(pool.map(look, range(len(scenes))))
    counts = [len(rows) for rows, _, _, _ in found]
    return People(
        scenes=np.repeat(np.arange(len(found)), counts),
        rows=_joined([rows for rows, _, _, _ in found]),
        identities=_joined([identities for _, identities, _, _ in found]),
        cameras=np.repeat(np.array([camera for _, _, camera, _ in found], np.int64), counts),
        masks=any(masked for _, _, _, masked in found),
    )


def epoch_order(
    people: People, generator: np.random.Generator, order: Order, *, per_identity: int, others: int
) -> NDArray[np.int64]:
    """Indices into `people` of one epoch: all labelled people, and as many of the others as asked for.

    Args:
        people: P of them.
        generator: The only source of chance.
        order: `people` draws them one by one. `scenes` keeps those of a scene together. `identities` keeps
            `per_identity` of an identity together, from as many of its cameras as there are.
        per_identity: An identity whose number of people is no multiple of it repeats some.
        others: How many without an identity.
    """
    labelled = np.flatnonzero(people.identities != UNKNOWN)
    unlabelled = np.flatnonzero(people.identities == UNKNOWN)
    chosen = generator.permutation(np.concatenate([labelled, generator.permutation(unlabelled)[:others]]))
    if order == "people":
        return chosen
    if order == "scenes":
        groups = by_key(chosen, people.scenes[chosen])
    else:
        k = per_identity
        groups = [
            np.resize(group[i : i + k], k)
            for everyone in by_key(chosen, people.identities[chosen])
            for group in [by_turns(everyone, people.cameras[everyone])]
            for i in range(0, len(group), k)
        ]
    return np.concatenate([groups[i] for i in generator.permutation(len(groups))])


def by_turns(values: NDArray[np.int64], cameras: NDArray[np.int64]) -> NDArray[np.int64]:
    """One of each camera, then another of each that has one, and so on."""
    turns = np.empty(len(values), np.int64)
    for camera in np.unique(cameras):
        places = np.flatnonzero(cameras == camera)
        turns[places] = np.arange(len(places))
    return values[np.argsort(turns, kind="stable")]


def by_key(values: NDArray[np.int64], keys: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Values of equal keys together, in ascending order of the keys, each group in the order of `values`."""
    order = np.argsort(keys, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(keys[order])) + 1)


def _joined(parts: Sequence[Array]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
