"""Room for pictures in flight together in mode `joint`: one network, and no second stage.

    main stream   upload ─ letterbox ─ joint network ─ boxes, scores and embeddings to the host

Who of the network's rows is a person the host says, from a few kilobytes: so nothing waits for a number.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
from mgts_trt.runtime.gpu.engines import BatchEngine, Workspace, sized
from mgts_trt.runtime.gpu.memory import Mirrored
from mgts_trt.runtime.gpu.slot import Slot
from mgts_trt.runtime.joint_people import joint_people, rows_of_given
from mgts_trt.runtime.people import People, people_among

_FOUND = ("boxes", "scores", "embeddings")


class JointSlot(Slot):
    """See `Slot`.

    Args:
        shared: What it has in common with the others.

    Raises:
        BackendError: There is not enough memory, or TensorRT refuses.
    """

    def _equip(self, most: int) -> None:
        shared, arena, main = self._shared, self._arena, self._main
        workspace = Workspace.of(shared, ("joint",), arena, main)
        specs = {**shared.engines["joint"].inputs, **shared.engines["joint"].outputs}
        # The boxes of all pictures one after another; zero, as where nothing is given.
        arrays = {
            name: arena.array(_flat(sized(spec, most)), spec.dtype, main, zero=True)
            for name, spec in specs.items()
            if name != "image"
        }
        self._places = sized(specs["scores"], most)[1]
        self._given_places = sized(specs["rois"], most)[1] if "rois" in specs else 0
        every = {"image": self._canvases, **arrays}
        self._network = BatchEngine(shared, "joint", every, workspace, self._graphs, main)
        self._engines.append(self._network)
        self._found = {name: arena.pinned(arrays[name].shape, np.float32) for name in _FOUND}
        self._top: int | None = None
        self._given: Floats | None = None
        self._boxes: Mirrored | None = None
        self._described: PinnedArray | None = None

    def detect(self, top: int | None = None) -> None:
        """Queue everything.

        Args:
            top: See `PersonSearch.__call__`.
        """
        self._timer.mark("letterbox")
        self._top, self._given = top, None
        self._run()

    def place(self, boxes: Array) -> None:
        """Queue everything for given boxes of a single picture.

        Args:
            boxes: On the canvas, float32 [N, 4].
        """
        self._timer.mark("letterbox")
        self._given = np.asarray(boxes, np.float32)
        if not self._given_places:
            self._run()  # whoever is found there will be meant
            return
        there, described = self._reserve_given(len(boxes))
        if len(boxes):
            there.upload(self._device, self._main, self._given)
        starts = range(0, len(boxes), self._given_places)
        for first, last in pairwise([*starts, len(boxes)]):
            self._device.copy(self._array("rois", last - first), there.device.rows(first, last), self._main)
            self._network.enqueue(self._batch)
            copied = self._array("roi_embeddings", last - first)
            self._device.copy(described.rows(first, last), copied, self._main)
        self._timer.mark("joint")

    @property
    def warm_up_steps(self) -> int:
        """How often `warm_up` yields."""
        return self._rounds * len(self._shared.pictures)

    def warm_up(self) -> Iterator[None]:
        """Run on nothing, in each batch of pictures; again where that captures it. Yields after each.

        Raises:
            BackendError: The device fails.
        """
        picture = np.zeros((*self._shared.manifest.canvas, 3), np.uint8)
        for _ in range(self._rounds):
            yield from self._warm_up_detection(picture)

    def describe(self) -> None:
        """Mark the end of what is queued: there is nothing to learn before."""
        self._device.make_current()
        self._timer.mark(None)
        self._main.record(self._done)

    def people(self, total_ms: float) -> list[People]:
        """See `Slot.people`.

        Raises:
            ImageError: The network has no places for given boxes, and found nobody in one.
        """
        if not self._letterboxes:
            return []
        timings = self._shares(total_ms)
        if self._given is not None:
            [geometry] = self._letterboxes
            scores = np.ones(len(self._given), np.float32)
            return [joint_people(geometry, self._given, scores, self._of_given(), timings)]
        people = []
        least = self._shared.manifest.thresholds.detection if self._top is None else 0.0
        for place, geometry in enumerate(self._letterboxes):
            found = self._rows_of(place)
            boxes = geometry.clip(found["boxes"])
            rows = people_among(boxes, found["scores"], least, self._top)
            people.append(
                joint_people(geometry, boxes[rows], found["scores"][rows], found["embeddings"][rows], timings)
            )
        return people

    def _run(self) -> None:
        """Queue the network, and its rows' way to the host."""
        self._network.enqueue(self._batch)
        rows = len(self._letterboxes) * self._places
        for name, found in self._found.items():
            self._device.copy(found.rows(0, rows), self._array(name, rows), self._main)
        self._timer.mark("joint")

    def _array(self, name: str, rows: int) -> DeviceArray:
        return self._network.arrays[name].rows(0, rows)

    def _rows_of(self, place: int) -> dict[str, Array]:
        """A picture's rows, once they are on the host."""
        first = place * self._places
        return {name: found.rows(first, first + self._places).array.copy() for name, found in self._found.items()}

    def _of_given(self) -> Array:
        """Embeddings of the given boxes, [N, d]."""
        if self._given is None or self._described is None:
            found = self._rows_of(0)
            given = np.zeros((0, 4), np.float32) if self._given is None else self._given
            rows = rows_of_given(found["boxes"], found["scores"], given, self._letterboxes[0])
            return found["embeddings"][rows]
        return self._described.rows(0, len(self._given)).array.copy()

    def _reserve_given(self, count: int) -> tuple[Mirrored, PinnedArray]:
        """Room for as many given boxes and what is said of them; it never shrinks."""
        if self._boxes is None or self._described is None or count > self._boxes.host.shape[0]:
            if self._boxes is not None:
                self._arena.free(self._boxes.device)
            places = -(-max(count, 1) // self._given_places) * self._given_places
            length = self._network.arrays["roi_embeddings"].shape[1]
            self._boxes = self._arena.mirrored((places, 4), np.float32, self._main)
            self._described = self._arena.pinned((places, length), np.float32)
        return self._boxes, self._described


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[B, K, …] → [B · K, …]."""
    if len(shape) < 2:
        raise BackendError(f"The joint network has a tensor of shape {list(shape)}; [B, K, …] is expected.")
    return (shape[0] * shape[1], *shape[2:])
