"""Canvases through a detector, mask net or joint network, whatever number of pictures its session takes at once."""

from collections.abc import Mapping, Sequence

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.runtime.session.base import Session


def run_picture(session: Session, canvas: Image, rois: Floats | None = None) -> dict[str, Array]:
    """What a detector, mask net or joint network gives for one canvas, without the batch axis.

    Args:
        session: Of the model.
        canvas: uint8 [Hc, Wc, 3], RGB.
        rois: Boxes for a joint network to describe, [N, 4], xyxy, canvas pixels; N at most the network's places.

    Returns:
        Output → array: `boxes` [K, 4], `scores` [K], of a mask net also `masks` [K, m, m], of a joint network
        `embeddings` [K, d], and `roi_embeddings` [P, d] where it has places for given boxes.

    Raises:
        BackendError: See `Session.run`.
    """
    return run_pictures(session, [canvas], None if rois is None else [rois])[0]


def run_pictures(
    session: Session, canvases: Sequence[Image], rois: Sequence[Floats] | None = None
) -> list[dict[str, Array]]:
    """`run_picture` of several canvases: in one run, or as many as a session of a fixed size needs.

    Raises:
        BackendError: See `Session.run`.
    """
    at_once = pictures_at_once(session.inputs) or max(len(canvases), 1)
    results = []
    for first in range(0, len(canvases), at_once):
        group = canvases[first : first + at_once]
        inputs: dict[str, Array] = {"image": np.stack(group)}
        if "rois" in session.inputs:
            inputs["rois"] = session.inputs["rois"].zeros(len(group))
            for place, boxes in enumerate(rois[first : first + at_once] if rois is not None else ()):
                inputs["rois"][place, : len(boxes)] = boxes
        found = session.run(inputs)
        results += [{name: array[place] for name, array in found.items()} for place in range(len(group))]
    return results


def pictures_at_once(inputs: Mapping[str, TensorSpec]) -> int | None:
    """How many pictures a detector or mask net takes in a run; None where it takes any number."""
    size = inputs["image"].shape[0]
    return None if isinstance(size, str) else size
