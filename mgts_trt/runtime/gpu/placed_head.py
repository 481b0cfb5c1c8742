"""MGTS's head behind its engine, in either form: inside the plan, or as a kernel after it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.kernels import FusedHead
from mgts_trt.runtime.gpu.memory import Arena, at
from mgts_trt.stages.head import HeadWeights

FEATURES = ("foreground_features", "original_features")
"""Outputs of a plan that leaves the head out: the last feature maps of F-Net and O-Net [N, C, h, w]."""


@dataclass(frozen=True)
class PlacedHead:
    """A head on the buffers of one slot.

    Attributes:
        embedding: float32 [places, d].
        buffers: Its own, beside the engine's outputs.
        enqueue: Queues what is left to do after the engine, for a batch on a stream.
    """

    embedding: DeviceArray
    buffers: tuple[DeviceArray, ...]
    enqueue: Callable[[int, Stream], None]


class Head(Protocol):
    """One form of the head; shared by all slots."""

    form: str
    """`graph` or `fused`."""

    def place(self, outputs: dict[str, DeviceArray], arena: Arena, stream: Stream) -> PlacedHead:
        """Prepare it behind an engine.

        Args:
            outputs: What the engine writes, by name, a row for each of up to `places` people. Form `graph`: `embedding`
                float32 [places, d]. Form `fused`: the two maps of `FEATURES`, float16 or float32
                [places, C, h, w].
            arena: Owns the memory it needs.
            stream: That memory is for use on it and after it.

        Raises:
            BackendError: The device has no room.
        """
        ...

    def close(self) -> None:
        """Free the weights."""
        ...


class GraphHead:
    """The head is in the plan, which writes the embedding itself."""

    form = "graph"

    def place(self, outputs: dict[str, DeviceArray], arena: Arena, stream: Stream) -> PlacedHead:
        """See `Head.place`."""
        return PlacedHead(outputs["embedding"], (), lambda batch, stream: None)

    def close(self) -> None:
        """See `Head.close`."""


class KernelHead:
    """The head is `kernels.FusedHead`, which reads the two feature maps a headless plan writes.

    Args:
        device: Where it runs.
        outputs: The plan's outputs.
        weights: The head's.

    Raises:
        BackendError: The plan's outputs are not two such maps, or the weights are of another model.
    """

    form = "fused"

    def __init__(self, device: DeviceLayer, outputs: dict[str, TensorSpec], weights: HeadWeights) -> None:
        f, o = (outputs.get(name) for name in FEATURES)
        if f is None or f != o or len(f.shape) != 4:
            found = ", ".join(f"{name} {spec}" for name, spec in outputs.items())
            raise BackendError(
                f"A plan without its head writes {' and '.join(FEATURES)} [N, C, h, w], this one {found}. "
                "Build it again with `mgts-trt build`."
            )
        _, channels, height, width = (int(size) if not isinstance(size, str) else 0 for size in f.shape)
        embedding, hidden = len(weights.fc), len(weights.squeeze)
        self._device = device
        self._head = FusedHead(channels, height * width, hidden, embedding, dtype=f.dtype)
        self._stream = stream = device.stream()
        self._arena = Arena(device)
        self._weights: dict[str, Pointer] = {}
        for name, matrix in self._head.pack(weights).items():
            array = self._arena.array(matrix.shape, matrix.dtype, stream)
            device.copy(array, matrix, stream)
            self._weights[name] = at(array)
        # Every slot reads them, on streams of its own.
        stream.synchronize()

    def place(self, outputs: dict[str, DeviceArray], arena: Arena, stream: Stream) -> PlacedHead:
        """See `Head.place`."""
        places = outputs[FEATURES[0]].shape[0]
        sizes = self._head.workspace(places)
        # The counters must be zero, and leave themselves so.
        workspace = {name: arena.array((size,), np.uint8, stream, zero=True) for name, size in sizes.items()}
        embedding = arena.array((places, self._head.embedding), np.float32, stream)
        f, o = (at(outputs[name]) for name in FEATURES)

        def enqueue(batch: int, stream: Stream) -> None:
            for launch in self._head.launches(
                batch,
                foreground_features=f,
                original_features=o,
                weights=self._weights,
                workspace={name: at(array) for name, array in workspace.items()},
                embedding=at(embedding),
            ):
                self._device.launch(launch, stream)

        return PlacedHead(embedding, (*workspace.values(), embedding), enqueue)

    def close(self) -> None:
        """See `Head.close`."""
        self._arena.close()
        # Frees are queued.
        with suppress(BackendError):
            self._stream.synchronize()


def make_head(device: DeviceLayer, outputs: dict[str, TensorSpec], weights: HeadWeights | None) -> Head:
    """The head behind a plan with these outputs.

    Args:
        device: Where it runs.
        outputs: Of the re-ID plan.
        weights: Of a head that is not in the plan; see `GpuPipeline`.

    Raises:
        BackendError: See `KernelHead`.
    """
    return GraphHead() if weights is None else KernelHead(device, outputs, weights)
