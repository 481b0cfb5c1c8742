"""One case of an operator: inputs, attributes, and how near to the reference a form of it must come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mgts_trt._typing import Array


@dataclass(frozen=True)
class Case:
    """See above.

    Attributes:
        name: What it tries, in a word or two; the id of the test.
        inputs: By the names of `engines/operators/README.md`, in their order; of the types given to the operator.
        attributes: Likewise.
        tolerance: Greatest absolute difference from the NumPy reference; 0 where the operator is exact.
        beyond_rounds: Whether it needs more rounds than the ONNX function of `Nms` takes; that form is then let off.
    """

    name: str
    inputs: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    beyond_rounds: bool = False

    def __str__(self) -> str:
        return self.name
