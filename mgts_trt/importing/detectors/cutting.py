"""Detectors with an NMS of their own: the graph before it, whose shapes do not depend on data."""

from typing import NamedTuple

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.folding import DATA_DEPENDENT
from mgts_trt.importing.detectors.static_form import StaticForm


class Cutoff(NamedTuple):
    """What was cut off: IoU of the NMS, where it is known, and how the place was found."""

    iou: float | None
    why: str


def without_nms(form: StaticForm) -> tuple[StaticForm, Cutoff | None]:
    """The detector up to its own NMS, if it has one.

    Raises:
        OnnxError: Its shapes depend on data elsewhere, too.
    """
    found = [node.op_type for node in form.model.graph.node if node.op_type in DATA_DEPENDENT]
    if not found:
        return form, None
    raise OnnxError(
        f"The detector's graph gives as much as it finds ({', '.join(dict.fromkeys(found))}), which no plan of static "
        "shapes holds. Export it without its NMS and thresholds, with all boxes and class scores as outputs: an NMS is "
        "added here."
    )
