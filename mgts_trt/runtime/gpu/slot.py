"""Room for the pictures in flight together: its streams, memory and engine contexts, and what is queued when.

    main stream   upload ─ letterbox ─┬─ detector ─ select people ─ counts to the host ─┬─ separate ─ patches ─ re-ID
    side stream                       └─ mask net ─ paint instances ────────────────────┘─ maps to the host

Detector and mask net run once for all of them, the kernels between once for each; and re-ID takes the people of all
together. A single picture is a batch of one. The host learns how many people there are while the mask net runs, and
chooses re-ID's batch. The side stream is for mode `net` alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.pictures.image import as_image
from mgts_trt.runtime.cuda.array import DeviceArray, as_device_array, is_device_array
from mgts_trt.runtime.cuda.streams import Event
from mgts_trt.runtime.gpu import kernels
from mgts_trt.runtime.gpu.engines import BatchEngine, Shared, Workspace
from mgts_trt.runtime.gpu.graphs import Graphs
from mgts_trt.runtime.gpu.masks import Segmenter
from mgts_trt.runtime.gpu.memory import Arena, at
from mgts_trt.runtime.gpu.picture_uploads import Uploads
from mgts_trt.runtime.gpu.reid import ReId
from mgts_trt.runtime.gpu.rows import PeopleRows
from mgts_trt.runtime.gpu.timing import StageTimer
from mgts_trt.runtime.modes import mode_gamma
from mgts_trt.runtime.people import STAGES, People
from mgts_trt.stages import Letterbox


class Slot:
    """Pictures together: `load`, then `detect` or `place`, `describe`, `wait`, `people`. One thread at a time.

    Only `describe` (for the numbers of people), `wait`, and larger pictures or crowds than before make the host wait.

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
        self._engines: list[BatchEngine | ReId | Segmenter] = []
        self._sources: list[DeviceArray] = []
        self._letterboxes: list[Letterbox] = []
        self._counted: Event | None = None
        self._copied: Event | None = None
        try:
            most = shared.pictures[-1]
            # Zero, so that the networks see no more than black where a batch holds fewer pictures.
            self._canvases = self._arena.array((most, *shared.manifest.canvas, 3), np.uint8, main, zero=True)
            self._equip(most)
            self._uploads = Uploads(self._device, self._arena, main)
        except BaseException:
            self.close()
            raise

    def _equip(self, most: int) -> None:
        """Make the engines for up to `most` pictures, and room for what they give."""
        shared, arena, main = self._shared, self._arena, self._main
        workspace = Workspace.of(shared, ("detector", shared.reid), arena, main)
        self._detector = BatchEngine.on_canvases(
            shared, "detector", self._canvases, workspace, arena, self._graphs, main
        )
        self._engines.append(self._detector)
        self._reid = ReId(shared, workspace, arena, self._graphs, main)
        self._engines.append(self._reid)
        if shared.mode == "net":
            self._segmenter = Segmenter(shared, self._canvases, arena)
            self._engines.append(self._segmenter)
        self._counts = arena.mirrored((most, 2), np.int32, main)
        self._places = self._detector.arrays["scores"].shape[1]
        self._rows = self._allocate(most * self._places)
        self._people: list[int] = []

    def load(self, images: Sequence[Any], stream: Any = None) -> list[ImageError | None]:
        """Queue pictures' way onto the canvases.

        Args:
            images: uint8 [H, W, 3] each: NumPy arrays, or any library's arrays on this device; no more than the largest
                batch.
            stream: A caller's stream, whose work so far the device waits for.

        Returns:
            Of each, why it is no such picture; None if it is. Those that are none have no place: `letterboxes` and
            `people` are of the others, in order.
        """
        if stream is not None:
            self._main.wait(self._device.wrap_stream(stream).record())
        pictures: list[Image | DeviceArray] = []
        errors: list[ImageError | None] = []
        for image in images:
            try:
                pictures.append(self._foreign(image) if is_device_array(image) else as_image(image))
                errors.append(None)
            except ImageError as error:
                errors.append(error)
        self._counted, self._people = None, []
        self._timer.start()
        uploaded = iter(self._uploads.upload([each for each in pictures if isinstance(each, np.ndarray)]))
        self._sources = [next(uploaded) if isinstance(each, np.ndarray) else each for each in pictures]
        canvas_hw = self._shared.manifest.canvas
        self._letterboxes = [Letterbox((each.shape[0], each.shape[1]), canvas_hw) for each in self._sources]
        for place, (geometry, source) in enumerate(zip(self._letterboxes, self._sources, strict=True)):
            pitch, canvas = 3 * geometry.image_hw[1], at(self._canvases, place)
            launch = kernels.letterbox(geometry, at(source), pitch, canvas, pad=self._shared.manifest.pad)
            self._device.launch(launch, self._main)
        return errors

    def detect(self, top: int | None = None) -> None:
        """Queue everything up to the people's boxes, and mask net and separation.

        Args:
            top: See `PersonSearch.__call__`.
        """
        canvases_ready = self._timer.mark("letterbox")
        most = self._places if top is None else max(0, min(top, self._places))
        self._detector.enqueue(self._batch)
        boxes, scores = (self._detector.arrays[name] for name in ("boxes", "scores"))
        for place, geometry in enumerate(self._letterboxes):
            first = place * self._places
            launch = kernels.select_people(
                geometry,
                at(boxes, place),
                at(scores, place),
                self._places,
                threshold=self._shared.manifest.thresholds.detection if top is None else 0.0,
                most=most,
                people=at(self._rows.boxes.device, first),
                people_scores=at(self._rows.scores.device, first),
                count=at(self._counts.device, place),
            )
            self._device.launch(launch, self._main)
        self._counts.download(self._device, self._main, len(self._letterboxes))
        self._counted = self._timer.mark("detector")
        self._separate(canvases_ready, most, detected=True)

    def place(self, boxes: Array) -> None:
        """Queue everything up to separation for given people of a single picture, without detecting.

        Args:
            boxes: On the canvas, float32 [N, 4].
        """
        canvases_ready = self._timer.mark("letterbox")
        self._reserve(len(boxes))
        self._counts.upload(self._device, self._main, np.array([[len(boxes)] * 2], np.int32))
        self._rows.boxes.upload(self._device, self._main, boxes)
        self._rows.scores.host.array[: len(boxes)] = 1
        self._counted, self._people = None, [len(boxes)]
        self._separate(canvases_ready, len(boxes), detected=False)

    @property
    def warm_up_steps(self) -> int:
        """How often `warm_up` yields."""
        return self._rounds * (len(self._reid.sizes) + len(self._shared.pictures))

    def warm_up(self) -> Iterator[None]:
        """Run on nothing: each of re-ID's batches, and detection in each of its; again where that captures it.

        The largest batch comes first: a larger one would move the buffers, and what was captured would be lost. Yields
        after each.

        Raises:
            BackendError: The device fails.
        """
        height, width = self._shared.manifest.canvas
        picture = np.zeros((height, width, 3), np.uint8)
        for _ in range(self._rounds):
            for people in reversed(self._reid.sizes):
                self.load([picture])
                self.place(np.array([[0, 0, width, height]] * people, np.float32))
                self.describe()
                self.wait()
                yield
            yield from self._warm_up_detection(picture)

    def _warm_up_detection(self, picture: Image) -> Iterator[None]:
        """In each batch of pictures, the largest first."""
        for pictures in reversed(self._shared.pictures):
            self.load([picture] * pictures)
            self.detect()
            self.describe()
            self.wait()
            yield

    @property
    def _rounds(self) -> int:
        return 2 if self._shared.policy.enabled else 1

    @property
    def _batch(self) -> int:
        """What the pictures are run in: the smallest size that holds them."""
        return next(size for size in self._shared.pictures if size >= len(self._letterboxes))

    @property
    def letterboxes(self) -> Sequence[Letterbox]:
        """How the pictures loaded last lie on their canvases."""
        return self._letterboxes

    @property
    def counted(self) -> bool:
        """Whether `describe` need not wait."""
        # Pictures may be taken from a stream by another thread than the one that sent them off.
        self._device.make_current()
        return self._counted is None or self._counted.done

    def describe(self) -> None:
        """Learn how many people there are, and queue their patches and re-ID, those of all pictures together."""
        self._device.make_current()
        if self._counted is not None:
            self._counted.synchronize()
            self._people = [int(count) for count, _ in self._counts.read(0, len(self._letterboxes))]
        # What the device waited for the host belongs to no stage.
        self._timer.mark(None)
        people = sum(self._people)
        for first in range(0, people, self._reid.largest):
            last = min(first + self._reid.largest, people)
            batch = self._reid.batch(last - first)
            self._patches(first, last, self._reid.inputs(batch))
            self._timer.mark("separate")
            embeddings = self._reid.enqueue(batch)
            self._device.copy(self._rows.embeddings.rows(first, last), embeddings.rows(0, last - first), self._main)
            self._timer.mark("reid")
        if self._copied is not None:
            self._main.wait(self._copied)
        self._main.record(self._done)

    def wait(self) -> None:
        """Let the host wait for the last result; after `describe`."""
        self._device.make_current()
        self._done.synchronize()
        for engine in self._engines:
            engine.settle()

    def people(self, total_ms: float) -> list[People]:
        """The results, one for each picture; after `wait`.

        Args:
            total_ms: What the `timings` are to say of all pictures together. Each has its share of that and of the
                stages.
        """
        rows, segmenter = self._rows, self._segmenter
        found = []
        for place, start, stop in self._spans:
            row, geometry = place * self._places, self._letterboxes[place]
            boxes, scores, crops, instances = (
                results.read(row, row + stop - start)
                for results in (rows.boxes, rows.scores, rows.crops, rows.instances)
            )
            found.append(
                People(
                    boxes=geometry.to_image(boxes),
                    scores=scores,
                    embeddings=rows.embeddings.rows(start, stop).array.copy(),
                    instances=instances,
                    crops=crops,
                    letterbox=geometry,
                    timings=self._shares(total_ms),
                    canvas_boxes=boxes,
                    instance_map=segmenter.read(place) if segmenter else None,
                    has_masks=self._shared.mode != "none",
                )
            )
        return found

    def reset(self) -> None:
        """Wait for what was queued, whatever becomes of it, and let go of the pictures."""
        for stream in (self._main, *([self._segmenter.stream] if self._segmenter else [])):
            with suppress(BackendError):
                stream.synchronize()
        self._sources = []

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

    def _shares(self, total_ms: float) -> dict[str, float]:
        """A picture's share of the time of all."""
        measured = self._timer.timings()
        for stage, milliseconds in (self._segmenter.timer.timings() if self._segmenter else {}).items():
            measured[stage] = measured.get(stage, 0.0) + milliseconds
        timings = {**{stage: measured[stage] for stage in STAGES if stage in measured}, "total": total_ms}
        return {stage: milliseconds / len(self._letterboxes) for stage, milliseconds in timings.items()}

    @property
    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """Of each picture its place, its first person and the one behind its last, counted through all pictures."""
        start = 0
        for place, count in enumerate(self._people):
            yield place, start, start + count
            start += count

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

    def _separate(self, canvases_ready: Event, most: int, *, detected: bool) -> None:
        """Queue the mask net beside, and behind both the expanded boxes and their instances."""
        shared, segmenter, rows = self._shared, self._segmenter, self._rows
        if segmenter is not None:
            painted, self._copied = segmenter.enqueue(canvases_ready, len(self._letterboxes), self._batch)
            self._main.wait(painted)
            self._timer.mark(None)
        for place, geometry in enumerate(self._letterboxes if most else ()):
            first = place * self._places
            launch = kernels.separate_people(
                geometry,
                at(rows.boxes.device, first),
                at(self._counts.device, place),
                most,
                gamma=mode_gamma(shared.manifest, shared.mode),
                instance_map=at(segmenter.instance_maps, place) if segmenter else None,
                rows=segmenter.rows if segmenter else 0,
                crops=at(rows.crops.device, first),
                tights=at(rows.tights, first),
                instances=at(rows.instances.device, first),
            )
            self._device.launch(launch, self._main)
        last = (len(self._letterboxes) - 1) * self._places + most
        for results in (
            (rows.boxes, rows.scores, rows.crops, rows.instances) if detected else (rows.crops, rows.instances)
        ):
            results.download(self._device, self._main, last)
        self._timer.mark("separate")

    def _patches(self, first: int, last: int, inputs: Mapping[str, DeviceArray]) -> None:
        """Queue the patches of people `first`…`last`, counted through all pictures, into a batch's first rows."""
        for place, start, stop in self._spans:
            here, there = max(first, start), min(last, stop)
            if here < there:
                into = {name: array.rows(here - first, there - first) for name, array in inputs.items()}
                self._patches_of(place, here - start, into)

    def _patches_of(self, place: int, first: int, into: Mapping[str, DeviceArray]) -> None:
        """Queue the patches of a picture's people from `first` on, as many as there are rows."""
        manifest, rows, segmenter = self._shared.manifest, self._rows, self._segmenter
        original, foreground = into["original"], into.get("foreground")
        row = place * self._places
        self._device.launch(
            kernels.person_patches(
                self._letterboxes[place],
                at(self._canvases, place),
                at(self._counts.device, place),
                first=first,
                batch=original.shape[0],
                instance_map=at(segmenter.instance_maps, place) if segmenter else None,
                crops=at(rows.crops.device, row),
                tights=at(rows.tights, row),
                instances=at(rows.instances.device, row),
                patch_hw=manifest.patch,
                mean=manifest.normalisation.mean,
                std=manifest.normalisation.std,
                dtype=original.dtype.name,
                foreground=at(foreground) if foreground is not None else None,
                original=at(original),
            ),
            self._main,
        )
