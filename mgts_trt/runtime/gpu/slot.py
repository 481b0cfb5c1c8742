"""Room for one picture in flight: its streams, memory and engine contexts, and what is queued when.

    main stream   upload ─ letterbox ─┬─ detector ─ select people ─ count to the host ─┬─ separate ─ patches ─ re-ID
    side stream                       └─ mask net ─ paint instances ───────────────────┘─ map to the host

The host learns how many people there are while the mask net runs, and chooses re-ID's batch. The side stream is for
mode `net` alone.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.runtime.cuda.array import DeviceArray, as_device_array
from mgts_trt.runtime.cuda.streams import Event
from mgts_trt.runtime.gpu import kernels
from mgts_trt.runtime.gpu.engines import CanvasEngine, Shared, Workspace
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.masks import Segmenter
from mgts_trt.runtime.gpu.memory import Arena, Mirrored, at
from mgts_trt.runtime.gpu.reid import ReId
from mgts_trt.runtime.gpu.rows import PeopleRows
from mgts_trt.runtime.gpu.timing import StageTimer
from mgts_trt.runtime.modes import mode_gamma
from mgts_trt.runtime.people import STAGES, People
from mgts_trt.stages import Letterbox


class Slot:
    """One picture at a time: `load`, then `detect` or `place`, `describe`, `wait`, `people`. One thread at a time.

    Only `describe` (for the number of people), `wait`, and a larger picture or crowd than before make the host wait.

    Args:
        shared: What it has in common with the others.

    Raises:
        BackendError: There is not enough memory, or TensorRT refuses.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared, self._device = shared, shared.device
        self._arena = Arena(self._device)
        self._main = main = self._device.stream()
        self._timer = StageTimer(self._device, main)
        self._done = self._device.event()
        self._graphs = Graphs(self._device, main, shared.policy)
        self._segmenter: Segmenter | None = None
        self._engines: list[CanvasEngine | ReId | Segmenter] = []
        try:
            self._canvas = self._arena.array((*shared.manifest.canvas, 3), np.uint8, main)
            workspace = Workspace.of(shared, ("detector", shared.reid), self._arena, main)
            self._detector = CanvasEngine(shared, "detector", self._canvas, workspace, self._arena, self._graphs, main)
            self._engines.append(self._detector)
            self._reid = ReId(shared, workspace, self._arena, self._graphs, main)
            self._engines.append(self._reid)
            if shared.mode == "net":
                self._segmenter = Segmenter(shared, self._canvas, self._arena)
                self._engines.append(self._segmenter)
            self._count = self._arena.mirrored((2,), np.int32, main)
            self._rows = self._allocate(self._detector.outputs["scores"].shape[0])
            self._picture: Mirrored | None = None
            self._source: DeviceArray | None = None
        except BaseException:
            self.close()
            raise
        self._letterbox = Letterbox(shared.manifest.canvas, shared.manifest.canvas)
        self._counted: Event | None = None
        self._copied: Event | None = None
        self._people = 0

    def load(self, image: Any, stream: Any = None) -> None:
        """Queue a picture's way onto the canvas.

        Args:
            image: uint8 [H, W, 3]: a NumPy array, or any library's array on this device.
            stream: A caller's stream, whose work so far the device waits for.

        Raises:
            ImageError: An array on the device that is no such picture; nothing was queued.
        """
        if stream is not None:
            self._main.wait(self._device.wrap_stream(stream).record())
        if isinstance(image, np.ndarray):
            geometry = Letterbox((image.shape[0], image.shape[1]), self._shared.manifest.canvas)
            self._timer.start()
            self._source = self._upload(image)
        else:
            self._source = self._foreign(image)
            height, width, _ = self._source.shape
            geometry = Letterbox((height, width), self._shared.manifest.canvas)
            self._timer.start()
        pad = self._shared.manifest.pad
        launch = kernels.letterbox(geometry, at(self._source), 3 * geometry.image_hw[1], at(self._canvas), pad=pad)
        self._device.launch(launch, self._main)
        self._letterbox = geometry

    def detect(self, top: int | None = None) -> None:
        """Queue everything up to the people's boxes, and mask net and separation.

        Args:
            top: See `PersonSearch.__call__`.
        """
        canvas_ready = self._timer.mark("letterbox")
        rows = self._detector.outputs["scores"].shape[0]
        most = rows if top is None else max(0, min(top, rows))
        self._detector.enqueue()
        self._device.launch(
            kernels.select_people(
                self._letterbox,
                at(self._detector.outputs["boxes"]),
                at(self._detector.outputs["scores"]),
                rows,
                threshold=self._shared.manifest.thresholds.detection if top is None else 0.0,
                most=most,
                people=at(self._rows.boxes.device),
                people_scores=at(self._rows.scores.device),
                count=at(self._count.device),
            ),
            self._main,
        )
        self._count.download(self._device, self._main)
        self._counted = self._timer.mark("detector")
        self._separate(canvas_ready, most, detected=True)

    def place(self, boxes: Array) -> None:
        """Queue everything up to separation for given people, without detecting.

        Args:
            boxes: On the canvas, float32 [N, 4].
        """
        canvas_ready = self._timer.mark("letterbox")
        self._reserve(len(boxes))
        count = np.array([len(boxes)] * 2, np.int32)
        self._count.upload(self._device, self._main, count)
        self._rows.boxes.upload(self._device, self._main, boxes)
        self._rows.scores.host.array[: len(boxes)] = 1
        self._counted, self._people = None, len(boxes)
        self._separate(canvas_ready, len(boxes), detected=False)

    @property
    def warm_up_steps(self) -> int:
        """How often `warm_up` yields."""
        return self._rounds * (len(self._reid.sizes) + 1)

    def warm_up(self) -> Iterator[None]:
        """Run on nothing: each of re-ID's batches, and detection; again where that captures it. Yields after each.

        The largest batch comes first: a larger one would move the buffers, and what was captured would be lost.

        Raises:
            BackendError: The device fails.
        """
        height, width = self._shared.manifest.canvas
        picture = np.zeros((height, width, 3), np.uint8)
        for _ in range(self._rounds):
            for people in reversed(self._reid.sizes):
                self.load(picture)
                self.place(np.array([[0, 0, width, height]] * people, np.float32))
                self.describe()
                self.wait()
                yield
            self.load(picture)
            self.detect()
            self.describe()
            self.wait()
            yield

    @property
    def _rounds(self) -> int:
        return 2 if self._shared.policy.enabled else 1

    @property
    def letterbox(self) -> Letterbox:
        """How the picture loaded last lies on the canvas."""
        return self._letterbox

    @property
    def counted(self) -> bool:
        """Whether `describe` need not wait."""
        # Pictures may be taken from a stream by another thread than the one that sent them off.
        self._device.make_current()
        return self._counted is None or self._counted.done

    def describe(self) -> None:
        """Learn how many people there are, and queue their patches and re-ID."""
        self._device.make_current()
        if self._counted is not None:
            self._counted.synchronize()
            self._people = int(self._count.host.array[0])
        # What the device waited for the host belongs to no stage.
        self._timer.mark(None)
        for first in range(0, self._people, self._reid.largest):
            people = min(self._people - first, self._reid.largest)
            batch = self._reid.batch(people)
            self._patches(first, people, self._reid.inputs(batch))
            self._timer.mark("separate")
            embeddings = self._reid.enqueue(batch)
            there = self._rows.embeddings.rows(first, first + people)
            self._device.copy(there, embeddings.rows(0, people), self._main)
            self._timer.mark("reid")
        if self._copied is not None:
            self._main.wait(self._copied)
        self._main.record(self._done)

    def wait(self) -> None:
        """Let the host wait for the picture's last result; after `describe`."""
        self._device.make_current()
        self._done.synchronize()
        self._reid.settle()

    def people(self, total_ms: float) -> People:
        """The results; after `wait`.

        Args:
            total_ms: What `People.timings` is to say of the whole.
        """
        count, segmenter = self._people, self._segmenter
        rows = self._rows
        boxes, scores, crops, instances = (
            results.read(count) for results in (rows.boxes, rows.scores, rows.crops, rows.instances)
        )
        measured = self._timer.timings()
        for stage, milliseconds in (segmenter.timer.timings() if segmenter else {}).items():
            measured[stage] = measured.get(stage, 0.0) + milliseconds
        return People(
            boxes=self._letterbox.to_image(boxes),
            scores=scores,
            embeddings=self._rows.embeddings.rows(0, count).array.copy(),
            instances=instances,
            crops=crops,
            letterbox=self._letterbox,
            timings={**{stage: measured[stage] for stage in STAGES if stage in measured}, "total": total_ms},
            canvas_boxes=boxes,
            instance_map=segmenter.read() if segmenter else None,
            has_masks=self._shared.mode != "none",
        )

    def reset(self) -> None:
        """Wait for what was queued, whatever becomes of it, and let go of the picture."""
        for stream in (self._main, *([self._segmenter.stream] if self._segmenter else [])):
            with suppress(BackendError):
                stream.synchronize()
        self._source = None

    def close(self) -> None:
        """Wait for what was queued, and free everything."""
        self.reset()
        self._graphs.close()
        for engine in self._engines:
            engine.close()
        self._engines.clear()
        self._arena.close()
        # Frees are queued, too.
        self.reset()

    def _upload(self, image: Image) -> DeviceArray:
        """Queue the copy of a picture through pinned memory."""
        if self._picture is None or self._picture.host.nbytes < image.nbytes:
            if self._picture is not None:
                self._arena.free(self._picture.device)
            # At least twice as much each time: what was outgrown stays pinned, and is less than what is in use.
            most = max(image.nbytes, 2 * self._picture.host.nbytes if self._picture is not None else 0)
            self._picture = self._arena.mirrored((most,), np.uint8, self._main)
        self._picture.upload(self._device, self._main, image.reshape(-1))
        # A view of the shape the picture has.
        memory = self._picture.device
        return DeviceArray(image.shape, memory.dtype, memory.pointer, self._device, memory.owner, self._main)

    def _foreign(self, image: Any) -> DeviceArray:
        """Another library's picture, where it is."""
        try:
            picture = as_device_array(image, self._device, self._main, what="The picture")
        except BackendError as error:
            raise ImageError(str(error)) from error
        if picture.dtype != np.uint8 or len(picture.shape) != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ImageError(
                f"The picture on the GPU is {picture}, but an image is uint8 [H, W, 3], RGB, contiguous, with at least "
                "one pixel. Convert it there first."
            )
        return picture

    def _reserve(self, people: int) -> None:
        """Room for as many people, in whole batches; it never shrinks."""
        if people > self._rows.places:
            self._rows.free(self._arena)
            self._rows = self._allocate(people)

    def _allocate(self, people: int) -> PeopleRows:
        places = -(-people // self._reid.largest) * self._reid.largest
        return PeopleRows.allocate(self._arena, self._main, places, self._shared.manifest.embedding)

    def _separate(self, canvas_ready: Event, most: int, *, detected: bool) -> None:
        """Queue the mask net beside, and behind both the expanded boxes and their instances."""
        shared, segmenter = self._shared, self._segmenter
        if segmenter is not None:
            painted, self._copied = segmenter.enqueue(canvas_ready)
            self._main.wait(painted)
            self._timer.mark(None)
        if most:
            self._device.launch(
                kernels.separate_people(
                    self._letterbox,
                    at(self._rows.boxes.device),
                    at(self._count.device),
                    most,
                    gamma=mode_gamma(shared.manifest, shared.mode),
                    instance_map=at(segmenter.instance_map) if segmenter else None,
                    rows=segmenter.rows if segmenter else 0,
                    crops=at(self._rows.crops.device),
                    tights=at(self._rows.tights),
                    instances=at(self._rows.instances.device),
                ),
                self._main,
            )
        rows = self._rows
        for results in (
            (rows.boxes, rows.scores, rows.crops, rows.instances) if detected else (rows.crops, rows.instances)
        ):
            results.download(self._device, self._main)
        self._timer.mark("separate")

    def _patches(self, first: int, people: int, inputs: dict[str, DeviceArray]) -> None:
        manifest, rows, segmenter = self._shared.manifest, self._rows, self._segmenter
        original, foreground = inputs["original"], inputs.get("foreground")
        self._device.launch(
            kernels.person_patches(
                self._letterbox,
                at(self._canvas),
                at(self._count.device),
                first=first,
                batch=people,
                instance_map=at(segmenter.instance_map) if segmenter else None,
                crops=at(rows.crops.device),
                tights=at(self._rows.tights),
                instances=at(rows.instances.device),
                patch_hw=manifest.patch,
                mean=manifest.normalisation.mean,
                std=manifest.normalisation.std,
                dtype=original.dtype.name,
                foreground=at(foreground) if foreground is not None else None,
                original=at(original),
            ),
            self._main,
        )
