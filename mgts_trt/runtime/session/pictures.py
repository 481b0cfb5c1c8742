"""Canvases through a detector or a mask net, whatever number of pictures its session takes at once."""

from collections.abc import Mapping, Sequence

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.runtime.session.base import Session


def run_picture(session: Session, canvas: Image) -> dict[str, Array]:
    """What a detector or mask net gives for one canvas, without the batch axis.

    Args:
        session: Of the model.
        canvas: uint8 [Hc, Wc, 3], RGB.

    Returns:
        Output → array: `boxes` [K, 4], `scores` [K], of a mask net also `masks` [K, m, m].

    Raises:
        BackendError: See `Session.run`.
    """
    return run_pictures(session, [canvas])[0]


def run_pictures(session: Session, canvases: Sequence[Image]) -> list[dict[str, Array]]:
    """`run_picture` of several canvases: in one run, or as many as a session of a fixed size needs.

    Raises:
        BackendError: See `Session.run`.
    """
    at_once = pictures_at_once(session.inputs) or max(len(canvases), 1)
    results = []
    for first in range(0, len(canvases), at_once):
        group = canvases[first : first + at_once]
        found = session.run({"image": np.stack(group)})
        results += [{name: array[place] for name, array in found.items()} for place in range(len(group))]
    return results


def pictures_at_once(inputs: Mapping[str, TensorSpec]) -> int | None:
    """How many pictures a detector or mask net takes in a run; None where it takes any number."""
    size = inputs["image"].shape[0]
    return None if isinstance(size, str) else size
