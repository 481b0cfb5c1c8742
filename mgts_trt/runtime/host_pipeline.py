"""Person search on the host: the networks in sessions, and NumPy and OpenCV between them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import batch_sizes, load_recipe
from mgts_trt.choices import Mode
from mgts_trt.errors import BackendError
from mgts_trt.pictures.image import as_image
from mgts_trt.runtime.clock import Clock
from mgts_trt.runtime.cuda.device import GraphRefusal
from mgts_trt.runtime.modes import MODELS_OF_MODE, mode_dimension, mode_instance_map, mode_patches
from mgts_trt.runtime.people import People, given_boxes, people_among
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.pictures import run_pictures
from mgts_trt.runtime.stream import Deferred, Errors, PeopleStream, closed, is_ready, require_errors
from mgts_trt.stages import InstanceMap, Letterbox, Patches


class HostPipeline:
    """See `mgts_trt.runtime.protocol.Pipeline`. It holds no state between pictures.

    Args:
        bundle: An opened bundle.
        mode: `none`, `net` or `box`.
        sessions: The mode's models, on any backend; they stay open when this is closed.
        max_people: See `PersonSearch.open`.
        batch: Likewise.
    """

    def __init__(
        self,
        bundle: Bundle,
        mode: Mode,
        sessions: Mapping[str, Session],
        *,
        max_people: int | None = None,
        batch: int = 1,
    ) -> None:
        models = MODELS_OF_MODE[mode]
        self._bundle, self._mode, self._reid = bundle, mode, models[-1]
        most = load_recipe(self._reid).profile["N"].max
        self._people = most if max_people is None else min(max_people, most)
        self._pictures = batch
        self._sessions = {model: sessions[model] for model in models}

    @property
    def graph_refusals(self) -> Mapping[str, GraphRefusal]:
        """See `Pipeline.graph_refusals`: there are no graphs on the host."""
        return {}

    @property
    def memory_plan(self) -> str:
        """See `Pipeline.memory_plan`: ONNX Runtime does not say."""
        return ""

    def search(self, image: Any, *, top: int | None = None, stream: Any = None) -> People:
        """See `Pipeline.search`."""
        refuse_stream(stream)
        clock = Clock()
        picture = self._letterbox(image, clock)
        self._detect([picture], top, clock)
        return self._describe([picture], clock)[0]

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """See `Pipeline.embed`."""
        refuse_stream(stream)
        clock = Clock()
        picture = self._letterbox(image, clock)
        picture.boxes = given_boxes(boxes, picture.letterbox)
        picture.scores = np.ones(len(picture.boxes), np.float32)
        self._place(picture, clock)
        return self._describe([picture], clock)[0]

    def batch(self, images: Iterable[Any], *, top: int | None, errors: Errors) -> list[Any]:
        """See `Pipeline.batch`: so many pictures at once as the pipeline was opened for."""
        require_errors(errors)
        results: list[People | Exception] = []
        waiting = iter(images)
        while group := list(islice(waiting, self._pictures)):
            results += self._search_group(group, top, errors)
        return results

    def stream(self, images: Iterable[Any], *, depth: int, top: int | None, errors: Errors) -> PeopleStream[Any]:
        """See `Pipeline.stream`: one batch at a time, since nothing overlaps."""

        def begin(group: Sequence[Any]) -> Deferred:
            return Deferred(lambda: self._search_group(group, top, "return"), len(group))

        return PeopleStream(images, begin, min(depth, 1), errors, self._pictures, lambda: is_ready(images))

    def warm_up(self, depth: int, on_progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """See `Pipeline.warm_up`: each model once, and on a GPU the re-ID network on each batch."""
        if not self._sessions:
            raise closed()
        # On the CPU nothing is done for one size alone.
        on_gpu = self._sessions[self._reid].backend in ("onnxruntime-cuda", "tensorrt")
        batches = batch_sizes(load_recipe(self._reid).profile["N"]) if on_gpu else (1,)
        batches = tuple({min(size, self._people): None for size in batches})
        steps = [(model, size) for model in self._sessions for size in (batches if model == self._reid else (1,))]
        for done, (model, size) in enumerate(steps, 1):
            if stop():
                return
            self._run(model, {name: spec.zeros(size) for name, spec in self._session(model).inputs.items()})
            on_progress(done, len(steps))

    def close(self) -> None:
        """See `Pipeline.close`."""
        self._sessions = {}

    def _search_group(self, images: Sequence[Any], top: int | None, errors: Errors) -> list[People | Exception]:
        """Pictures together; one that is no picture costs itself, what fails in a network all of them."""
        clock = Clock()
        results: list[Picture | Exception] = []
        for image in images:
            try:
                results.append(self._letterbox(image, clock))
            except Exception as error:
                if errors == "raise":
                    raise
                results.append(error)
        pictures = [each for each in results if not isinstance(each, Exception)]
        try:
            self._detect(pictures, top, clock)
            described = iter(self._describe(pictures, clock))
        except Exception as error:
            if errors == "raise":
                raise
            return [each if isinstance(each, Exception) else error for each in results]
        return [each if isinstance(each, Exception) else next(described) for each in results]

    def _letterbox(self, image: Any, clock: Clock) -> "Picture":
        if not self._sessions:
            raise closed()
        manifest = self._bundle.manifest
        with clock("letterbox"):
            pixels = as_image(image)
            letterbox = Letterbox((pixels.shape[0], pixels.shape[1]), manifest.canvas)
            return Picture(letterbox.apply(pixels, manifest.pad), letterbox)

    def _detect(self, pictures: Sequence["Picture"], top: int | None, clock: Clock) -> None:
        """Set each picture's boxes and scores: the people among the detector's rows."""
        with clock("detector"):
            rows = run_pictures(self._session("detector"), [picture.canvas for picture in pictures])
            for picture, found in zip(pictures, rows, strict=True):
                picture.choose(self._select(found, picture.letterbox, top), found)

    def _place(self, picture: "Picture", clock: Clock) -> None:
        """What given boxes need before people are described: nothing here."""

    def _select(self, found: Mapping[str, Array], letterbox: Letterbox, top: int | None) -> Array:
        """The rows that are people; see `people_among`."""
        least = self._bundle.manifest.thresholds.detection if top is None else 0.0
        return people_among(letterbox.clip(found["boxes"]), found["scores"], least, top)

    def _describe(self, pictures: Sequence["Picture"], clock: Clock) -> list[People]:
        """From boxes on canvases to embeddings, of the people of all pictures in shared batches."""
        self._segment(pictures, clock)
        people = [(number, row) for number, picture in enumerate(pictures) for row in range(len(picture.boxes))]
        embeddings = np.empty((len(people), mode_dimension(self._bundle.manifest, self._mode)), np.float32)
        instances = np.empty(len(people), np.int32)
        crops = np.empty((len(people), 4), np.int32)
        # In batches the re-ID engine takes; so a crowd's patches are never all in memory.
        for start in range(0, len(people), self._people):
            rows = slice(start, start + self._people)
            with clock("separate"):
                patches = self._patches(pictures, people[rows])
            with clock("reid"):
                embeddings[rows] = self._embed(patches)
            instances[rows] = np.concatenate([each.instances for each in patches])
            crops[rows] = np.concatenate([each.boxes for each in patches])
        timings = clock.stop(len(pictures))
        ends = np.cumsum([len(picture.boxes) for picture in pictures])
        return [
            People(
                boxes=picture.letterbox.to_image(picture.boxes),
                scores=picture.scores,
                embeddings=embeddings[end - len(picture.boxes) : end],
                instances=instances[end - len(picture.boxes) : end],
                crops=crops[end - len(picture.boxes) : end],
                letterbox=picture.letterbox,
                timings=dict(timings),
                canvas_boxes=picture.boxes,
                instance_map=picture.instance_map,
                has_masks=self._mode != "none",
            )
            for picture, end in zip(pictures, ends, strict=True)
        ]

    def _segment(self, pictures: Sequence["Picture"], clock: Clock) -> None:
        """Set each picture's instance map, in mode `net`."""
        if self._mode != "net":
            return
        with clock("masknet"):
            rows = run_pictures(self._session("masknet"), [picture.canvas for picture in pictures])
        with clock("separate"):
            for picture, found in zip(pictures, rows, strict=True):
                picture.instance_map = mode_instance_map(
                    self._bundle.manifest, self._mode, found["boxes"], found["scores"], found["masks"]
                )

    def _patches(self, pictures: Sequence["Picture"], people: Sequence[tuple[int, int]]) -> list[Patches]:
        """The patches of some people, each a picture's number and a row of its boxes, in order; one item a picture."""
        rows: dict[int, list[int]] = {}
        for number, row in people:
            rows.setdefault(number, []).append(row)
        return [
            mode_patches(
                self._bundle.manifest,
                self._mode,
                pictures[number].canvas,
                pictures[number].boxes[of_one],
                pictures[number].instance_map,
                pictures[number].letterbox,
            )
            for number, of_one in rows.items()
        ]

    def _embed(self, patches: Sequence[Patches]) -> Floats:
        """One batch through the re-ID network: `mgts`, or `idnet`, which takes the original alone."""
        inputs = {
            name: getattr(patches[0], name)
            if len(patches) == 1
            else np.concatenate([getattr(each, name) for each in patches])
            for name in self._bundle.model(self._reid).inputs
        }
        return self._run(self._reid, inputs)["embedding"]

    def _session(self, model: str) -> Session:
        session = self._sessions.get(model)
        if session is None:
            raise BackendError("This PersonSearch was closed while it was in use; open the bundle again.")
        return session

    def _run(self, model: str, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._session(model).run(inputs)


@dataclass
class Picture:
    """A picture on its canvas, and what is found out about it.

    Attributes:
        canvas: uint8 [Hc, Wc, 3], RGB.
        letterbox: How it lies there.
        boxes: Of its people, float32 [N, 4], xyxy, canvas pixels.
        scores: Theirs, float32 [N].
        instance_map: uint16 [Hc, Wc], in mode `net`.
        embeddings: float32 [N, d], in mode `joint`, which finds and describes at once.
    """

    canvas: Image
    letterbox: Letterbox
    boxes: Floats = field(default_factory=lambda: np.empty((0, 4), np.float32))
    scores: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    instance_map: InstanceMap | None = None
    embeddings: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def choose(self, rows: Array, found: Mapping[str, Array]) -> None:
        """Take these rows of what a network found for people."""
        self.boxes = self.letterbox.clip(found["boxes"])[rows]
        self.scores = np.asarray(found["scores"][rows], np.float32)


def refuse_stream(stream: Any) -> None:
    """Say that a CUDA stream means nothing on the host.

    Raises:
        BackendError: One was passed.
    """
    if stream is not None:
        raise BackendError(
            "A CUDA stream was passed, but ONNX Runtime reads pictures in host memory. Leave `stream` out, or open the "
            "bundle with backend='tensorrt'."
        )
