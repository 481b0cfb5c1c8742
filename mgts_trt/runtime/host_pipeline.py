"""Person search on the host: the networks in sessions, and NumPy and OpenCV between them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import batch_sizes, load_recipe
from mgts_trt.choices import Mode
from mgts_trt.errors import BackendError
from mgts_trt.pictures.image import as_image
from mgts_trt.runtime.cuda.device import GraphRefusal
from mgts_trt.runtime.modes import MODELS_OF_MODE, mode_instance_map, mode_patches
from mgts_trt.runtime.people import People, given_boxes
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.stream import Deferred, Errors, PeopleStream, closed
from mgts_trt.stages import InstanceMap, Letterbox, Patches


class HostPipeline:
    """See `mgts_trt.runtime.protocol.Pipeline`. It holds no state between pictures.

    Args:
        bundle: An opened bundle.
        mode: `none`, `net` or `box`.
        sessions: The mode's models, on any backend; they stay open when this is closed.
        max_people: See `PersonSearch.open`.
    """

    def __init__(
        self, bundle: Bundle, mode: Mode, sessions: Mapping[str, Session], *, max_people: int | None = None
    ) -> None:
        models = MODELS_OF_MODE[mode]
        self._bundle, self._mode, self._reid = bundle, mode, models[-1]
        most = load_recipe(self._reid).profile["N"].max
        self._batch = most if max_people is None else min(max_people, most)
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
        _refuse_stream(stream)
        clock = _Clock()
        canvas, letterbox = self._letterbox(image, clock)
        with clock("detector"):
            found = self._run("detector", {"image": canvas})
            boxes, scores = self._select(found["boxes"], found["scores"], letterbox, top)
        return self._describe(canvas, letterbox, boxes, scores, clock)

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """See `Pipeline.embed`."""
        _refuse_stream(stream)
        clock = _Clock()
        canvas, letterbox = self._letterbox(image, clock)
        given = given_boxes(boxes, letterbox)
        return self._describe(canvas, letterbox, given, np.ones(len(given), np.float32), clock)

    def stream(self, images: Iterable[Any], *, depth: int, top: int | None, errors: Errors) -> PeopleStream[Any]:
        """See `Pipeline.stream`: one picture at a time, since nothing overlaps."""
        return PeopleStream(images, lambda image: Deferred(lambda: self.search(image, top=top)), min(depth, 1), errors)

    def warm_up(self, depth: int, on_progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """See `Pipeline.warm_up`: each model once, and on a GPU the re-ID network on each batch."""
        if not self._sessions:
            raise closed()
        # On the CPU nothing is done for one size alone.
        on_gpu = self._sessions[self._reid].backend in ("onnxruntime-cuda", "tensorrt")
        batches = batch_sizes(load_recipe(self._reid).profile["N"]) if on_gpu else (1,)
        batches = tuple({min(size, self._batch): None for size in batches})
        steps = [(model, size) for model in self._sessions for size in (batches if model == self._reid else (1,))]
        for done, (model, size) in enumerate(steps, 1):
            if stop():
                return
            self._run(model, {name: spec.zeros(size) for name, spec in self._bundle.model(model).inputs.items()})
            on_progress(done, len(steps))

    def close(self) -> None:
        """See `Pipeline.close`."""
        self._sessions = {}

    def _letterbox(self, image: Any, clock: "_Clock") -> tuple[Image, Letterbox]:
        if not self._sessions:
            raise closed()
        manifest = self._bundle.manifest
        with clock("letterbox"):
            pixels = as_image(image)
            letterbox = Letterbox((pixels.shape[0], pixels.shape[1]), manifest.canvas)
            return letterbox.apply(pixels, manifest.pad), letterbox

    def _select(self, boxes: Array, scores: Array, letterbox: Letterbox, top: int | None) -> tuple[Floats, Floats]:
        """The people among the detector's rows: scored well enough, and on the picture rather than the padding."""
        clipped = letterbox.clip(boxes)
        least = self._bundle.manifest.thresholds.detection if top is None else 0.0
        on_picture = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
        # Rows of score 0 are padding of the detector's fixed number of places.
        rows = np.flatnonzero(on_picture & (scores >= least) & (scores > 0))[:top]
        return clipped[rows], np.asarray(scores[rows], np.float32)

    def _describe(self, canvas: Image, letterbox: Letterbox, boxes: Floats, scores: Floats, clock: "_Clock") -> People:
        """From boxes on the canvas to embeddings."""
        instance_map = self._segment(canvas, clock)
        embeddings = np.empty((len(boxes), self._bundle.manifest.embedding), np.float32)
        instances = np.empty(len(boxes), np.int32)
        crops = np.empty((len(boxes), 4), np.int32)
        # In batches the re-ID engine takes; so a crowd's patches are never all in memory.
        for start in range(0, len(boxes), self._batch):
            rows = slice(start, start + self._batch)
            with clock("separate"):
                patches = mode_patches(self._bundle.manifest, self._mode, canvas, boxes[rows], instance_map, letterbox)
            with clock("reid"):
                embeddings[rows] = self._embed(patches)
            instances[rows], crops[rows] = patches.instances, patches.boxes
        return People(
            boxes=letterbox.to_image(boxes),
            scores=scores,
            embeddings=embeddings,
            instances=instances,
            crops=crops,
            letterbox=letterbox,
            timings=clock.stop(),
            canvas_boxes=boxes,
            instance_map=instance_map,
            has_masks=self._mode != "none",
        )

    def _segment(self, canvas: Image, clock: "_Clock") -> InstanceMap | None:
        if self._mode != "net":
            return None
        with clock("masknet"):
            found = self._run("masknet", {"image": canvas})
        with clock("separate"):
            return mode_instance_map(self._bundle.manifest, self._mode, found["boxes"], found["scores"], found["masks"])

    def _embed(self, patches: Patches) -> Floats:
        """One batch through the re-ID network: `mgts`, or `idnet`, which takes the original alone."""
        inputs = {"original": patches.original, "foreground": patches.foreground}
        wanted = {name: inputs[name] for name in self._bundle.model(self._reid).inputs}
        return self._run(self._reid, wanted)["embedding"]

    def _run(self, model: str, inputs: dict[str, Array]) -> dict[str, Array]:
        session = self._sessions.get(model)
        if session is None:
            raise BackendError("This PersonSearch was closed while it was in use; open the bundle again.")
        return session.run(inputs)


def _refuse_stream(stream: Any) -> None:
    if stream is not None:
        raise BackendError(
            "A CUDA stream was passed, but ONNX Runtime reads pictures in host memory. Leave `stream` out, or open the "
            "bundle with backend='tensorrt'."
        )


class _Clock:
    """Wall-clock milliseconds by stage."""

    def __init__(self) -> None:
        self._timings: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[stage] = self._timings.get(stage, 0.0) + (time.perf_counter() - start) * 1e3

    def stop(self) -> dict[str, float]:
        return {**self._timings, "total": (time.perf_counter() - self._start) * 1e3}
