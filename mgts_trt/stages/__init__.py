"""The steps between the networks, in NumPy and OpenCV: what every other implementation is tested against."""

from mgts_trt.stages.head import HeadWeights, fused_head
from mgts_trt.stages.instances import InstanceMap, paint_instances
from mgts_trt.stages.letterbox import Letterbox
from mgts_trt.stages.separate import (
    Patches,
    Separation,
    denormalise,
    dominant_instance,
    expand_boxes,
    person_patches,
    separate,
)

__all__ = [
    "HeadWeights",
    "InstanceMap",
    "Letterbox",
    "Patches",
    "Separation",
    "denormalise",
    "dominant_instance",
    "expand_boxes",
    "fused_head",
    "paint_instances",
    "person_patches",
    "separate",
]
