"""How much memory a pipeline takes on the GPU, before it takes it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Self
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu.engines import Shared, sized

PICTURE = 3840 * 2160 * 3
"""Bytes that are counted for a picture as it comes: larger ones take more."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the device, but for what CUDA and TensorRT keep for themselves.

    Attributes:
        plans: Of the engines, which all pictures share.
        workspace: Of one batch of pictures in flight.
        arrays: Likewise: pixels, inputs and outputs of the networks.
        batches: Of pictures, in flight at once.
        pictures: Of the largest batch.
        people: Of the largest batch of re-ID; 0 in mode `joint`.
    """

    plans: int
    workspace: int
    arrays: int
    batches: int
    pictures: int
    people: int

    @classmethod
    def of(cls, shared: Shared, batches: int) -> Self:
        """The plan of a pipeline.

        Args:
            shared: Of its slots.
            batches: Of pictures, in flight at once.

        Raises:
            BackendError: TensorRT does not say how much workspace it needs.
        """
        sizes, people, pictures = shared.workspace_bytes, max(shared.people, default=0), shared.pictures[-1]
        height, width = shared.manifest.canvas
        # The mask net runs beside the two others, which take turns.
        workspace = max(size for model, size in sizes.items() if model != "masknet") + sizes.get("masknet", 0)
        arrays = pictures * (PICTURE + height * width * 3 + (2 * height * width if "masknet" in sizes else 0))
        for model, engine in shared.engines.items():
            specs: Iterable[TensorSpec] = engine.outputs.values()
            if model == shared.reid:
                specs = (*engine.inputs.values(), *specs)
            arrays += sum(_nbytes(spec, people if people and model == shared.reid else pictures) for spec in specs)
        plans = sum(engine.weights_bytes for engine in shared.engines.values())
        return cls(plans, workspace, arrays, batches, pictures, people)

    @property
    def in_flight(self) -> int:
        """Bytes of all pictures in flight."""
        return self.batches * (self.workspace + self.arrays)

    def __str__(self) -> str:
        of = f" batches of up to {self.pictures} pictures" if self.pictures > 1 else ""
        return (
            f"{_mib(self.plans + self.in_flight)} on the GPU: plans {_mib(self.plans)}, and for each of "
            f"{self.batches}{of} in flight {_mib(self.workspace)} of workspace and {_mib(self.arrays)} of arrays"
            f"{f', with up to {self.people} people at once' if self.people else ''}"
        )

    def require(self, available: int | None) -> None:
        """Refuse what cannot fit beside the plans, which are loaded already.

        Args:
            available: Bytes; None if that is not known, and then nothing is refused.

        Raises:
            BackendError: It does not fit.
        """
        if available is not None and self.in_flight > available:
            smaller = f", a smaller batch_size than {self.pictures}" if self.pictures > 1 else ""
            fewer = f" or a smaller max_people than {self.people}" if self.people else ""
            raise BackendError(
                f"The pipeline does not fit into the GPU's memory, of which {_mib(available)} are free: {self}. "
                f"Open it with fewer pictures_in_flight than {self.batches}{smaller}{fewer}, in a mode with "
                "fewer networks, or end other programs."
            )


def _nbytes(spec: TensorSpec, batch: int) -> int:
    return math.prod(sized(spec, batch)) * np.dtype(spec.dtype).itemsize


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
