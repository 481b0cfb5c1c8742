"""Person search on one picture: detector, mask net and re-ID, joined as the paper joins them (Fig. 1)."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.pictures.image import as_image
from mgts_trt.plans.head_form import HeadChoice, load_head
from mgts_trt.runtime.modes import MODELS_OF_MODE, MODES, Mode, mode_instance_map, mode_patches
from mgts_trt.runtime.people import People, given_boxes
from mgts_trt.runtime.session.backends import Backend, Runtime, on_cpu, open_session, select_runtime
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.stream import DEPTH, Deferred, Errors, PeopleStream
from mgts_trt.stages import InstanceMap, Letterbox, Patches

if TYPE_CHECKING:
    from mgts_trt.runtime.gpu.gpu_pipeline import GpuPipeline


class PersonSearch:
    """The whole system on one bundle, in one mode.

    Example:
        ```python
        with PersonSearch.open("bundle/", mode="net") as search:
            people = search(image)                  # uint8 [H, W, 3], RGB
            people.boxes, people.scores, people.masks, people.embeddings
        ```

    It holds no state between pictures, so several threads may call it at once. On TensorRT a picture goes up to the GPU
    and its people come down; nothing between goes over the host but how many people there are.

    Made directly, it also takes `sessions`: ready ones by model, on any backend, which stay open when it is closed;
    `backend`, `precision`, `threads`, `head` and `graphs` then do not apply.

    Attributes:
        bundle: The bundle.
        mode: `none`, `net` or `box` (Table 6).
        precision: Of the models.
        runtime: Backend, device, and why this backend.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        mode: Mode = "net",
        backend: Backend = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        head: HeadChoice = "auto",
        graphs: bool = True,
        sessions: Mapping[str, Session] | None = None,
    ) -> None:
        if mode not in MODES:
            raise BackendError(f"There is no mode {mode!r}; the modes are {', '.join(MODES)}.")
        models = MODELS_OF_MODE[mode]
        self.bundle, self.mode, self.precision = bundle, mode, precision
        self._reid = models[-1]
        self._batch = load_recipe(self._reid).profile["N"].max
        self._sessions: dict[str, Session] = {}
        self._owns_sessions = sessions is None
        self._gpu: GpuPipeline | None = None
        if sessions is not None:
            self._sessions = {model: sessions[model] for model in models}
            session = self._sessions[self._reid]
            self.precision = session.precision
            self.runtime = Runtime(session.backend, "as its sessions", "ready sessions were passed")
            return
        self.runtime = select_runtime(bundle, models, precision=precision, backend=backend, threads=threads, head=head)
        try:
            if self.runtime.backend == "tensorrt":
                try:
                    self._gpu = self._open_gpu(graphs)
                    return
                except MgtsError as error:  # plans that load, and do not run: no memory left, say
                    if backend == "tensorrt":
                        raise
                    self.runtime.close()
                    self.runtime = on_cpu(str(error), threads)
            for model in models:
                self._sessions[model] = open_session(bundle, model, self.runtime, precision=precision, threads=threads)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        mode: Mode = "net",
        backend: Backend = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        head: HeadChoice = "auto",
        graphs: bool = True,
    ) -> Self:
        """Open a bundle for searching.

        Args:
            path: The bundle's folder.
            mode: `net` runs the mask net; `box` takes the box as a weak mask and is about twice as fast (Sec. 4.7);
                `none` is the single-stream baseline.
            backend: `auto` takes TensorRT where it can run, else ONNX Runtime on the CPU; `runtime.reason` says why.
            precision: `fp32`, or another the bundle holds.
            threads: CPU threads of one call; all available ones by default.
            head: On TensorRT, which form of MGTS's plan to run (`mgts-trt build --head`); `auto` takes the faster of
                those that are built.
            graphs: On TensorRT, whether engines' runs are captured in CUDA graphs; see `graph_refusals`.

        Raises:
            BundleError: See `Bundle.open`.
            BackendError: The backend is unknown or cannot run here.
        """
        return cls(
            Bundle.open(path),
            mode=mode,
            backend=backend,
            precision=precision,
            threads=threads,
            head=head,
            graphs=graphs,
        )

    @property
    def graph_refusals(self) -> Mapping[str, str]:
        """Model → why its runs could not be captured in a CUDA graph, and are launched one kernel at a time."""
        return {} if self._gpu is None else self._gpu.graph_refusals

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free everything; on TensorRT, after what other threads have in flight.

        Closing twice is harmless; calling a closed pipeline raises `BackendError`.
        """
        if self._gpu is not None:
            self._gpu.close()
        if self._owns_sessions:
            for session in self._sessions.values():
                session.close()
        self.runtime.close()
        self._sessions = {}

    def __call__(self, image: Any, *, top: int | None = None, stream: Any = None) -> People:
        """Find the people in a picture and describe each.

        Args:
            image: uint8 [H, W, 3], RGB: a NumPy array, or anything with an array interface or DLPack on the CPU. On
                TensorRT also an array on the GPU (PyTorch, CuPy, Numba, PyCUDA), contiguous, which is read where it is.
            top: Take the `top` best detections whatever their score, rather than those that reach the bundle's
                threshold. For measuring on equal work.
            stream: On TensorRT, the CUDA stream that writes `image`, of any library: the device waits for what is
                queued there, the host does not. PyTorch's arrays do not name theirs: pass
                `torch.cuda.current_stream()`.

        Raises:
            ImageError: `image` is not such an array.
            BackendError: The pipeline is closed, or the backend fails.
        """
        if self._gpu is not None:
            return self._gpu.search(image, top=top, stream=stream)
        _refuse_stream(stream)
        clock = _Clock()
        canvas, letterbox = self._letterbox(image, clock)
        with clock("detector"):
            found = self._run("detector", {"image": canvas})
            boxes, scores = self._select(found["boxes"], found["scores"], letterbox, top)
        return self._describe(canvas, letterbox, boxes, scores, clock)

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """Describe given people, without detecting: the probe of a search comes with its box.

        Args:
            image: As for calling the pipeline.
            boxes: xyxy [N, 4], pixels of the picture. What lies outside the picture is cut off.
            stream: As for calling the pipeline.

        Returns:
            One row for each box, in order, with score 1.

        Raises:
            ImageError: `image` is not such an array, or a box is not finite, has no area, or lies outside the picture.
            BackendError: The pipeline is closed, or the backend fails.
        """
        if self._gpu is not None:
            return self._gpu.embed(image, boxes, stream=stream)
        _refuse_stream(stream)
        clock = _Clock()
        canvas, letterbox = self._letterbox(image, clock)
        given = given_boxes(boxes, letterbox)
        return self._describe(canvas, letterbox, given, np.ones(len(given), np.float32), clock)

    @overload
    def stream(
        self, images: Iterable[Any], *, depth: int = ..., top: int | None = ..., errors: Literal["raise"] = ...
    ) -> PeopleStream[People]: ...

    @overload
    def stream(
        self, images: Iterable[Any], *, depth: int = ..., top: int | None = ..., errors: Literal["return"]
    ) -> PeopleStream[People | Exception]: ...

    def stream(
        self, images: Iterable[Any], *, depth: int = DEPTH, top: int | None = None, errors: Errors = "raise"
    ) -> PeopleStream[Any]:
        """Search picture after picture; on TensorRT several are in flight at once.

        Example:
            ```python
            for people in search.stream(map(read_image, paths)):
                print(people.boxes)
            ```

        Args:
            images: As for calling the pipeline, one after the other. They are read when there is room for one more.
            depth: Most pictures in flight. Each has memory of its own on the GPU. ONNX Runtime takes one at a time.
            top: As for calling the pipeline.
            errors: What becomes of a picture that cannot be searched: `raise` raises at its place, and iteration may go
                on with the next; `return` yields the exception in its place. What `images` itself raises is always
                raised, at its place.

        Returns:
            An iterator of `People`, in the order of the pictures. It may be closed at any time, by any thread, and is
            when it is no longer referenced; what is in flight then is dropped.

        Raises:
            BackendError: `depth` is below 1, or `errors` is neither. In iteration: the pipeline was closed.
        """
        if self._gpu is not None:
            return self._gpu.stream(images, depth=depth, top=top, errors=errors)
        return PeopleStream(images, lambda image: Deferred(lambda: self(image, top=top)), min(depth, 1), errors)

    def _open_gpu(self, graphs: bool) -> "GpuPipeline":
        from mgts_trt.runtime.gpu.gpu_pipeline import GpuPipeline

        engines = self.runtime.engines
        plan = engines[self._reid]
        weights = load_head(plan.folder, plan.record.identity.head)
        return GpuPipeline(self.bundle.manifest, self.mode, engines, head_weights=weights, graphs=graphs)

    def _letterbox(self, image: Any, clock: "_Clock") -> tuple[Image, Letterbox]:
        if not self._sessions:
            raise BackendError("This PersonSearch is closed; open the bundle again.")
        manifest = self.bundle.manifest
        with clock("letterbox"):
            pixels = as_image(image)
            letterbox = Letterbox((pixels.shape[0], pixels.shape[1]), manifest.canvas)
            return letterbox.apply(pixels, manifest.pad), letterbox

    def _select(self, boxes: Array, scores: Array, letterbox: Letterbox, top: int | None) -> tuple[Floats, Floats]:
        """The people among the detector's rows: scored well enough, and on the picture rather than the padding."""
        clipped = letterbox.clip(boxes)
        least = self.bundle.manifest.thresholds.detection if top is None else 0.0
        on_picture = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
        # Rows of score 0 are padding of the detector's fixed number of places.
        rows = np.flatnonzero(on_picture & (scores >= least) & (scores > 0))[:top]
        return clipped[rows], np.asarray(scores[rows], np.float32)

    def _describe(self, canvas: Image, letterbox: Letterbox, boxes: Floats, scores: Floats, clock: "_Clock") -> People:
        """From boxes on the canvas to embeddings."""
        instance_map = self._segment(canvas, clock)
        embeddings = np.empty((len(boxes), self.bundle.manifest.embedding), np.float32)
        instances = np.empty(len(boxes), np.int32)
        crops = np.empty((len(boxes), 4), np.int32)
        # In batches the re-ID engine takes; so a crowd's patches are never all in memory.
        for start in range(0, len(boxes), self._batch):
            rows = slice(start, start + self._batch)
            with clock("separate"):
                patches = mode_patches(self.bundle.manifest, self.mode, canvas, boxes[rows], instance_map, letterbox)
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
            has_masks=self.mode != "none",
        )

    def _segment(self, canvas: Image, clock: "_Clock") -> InstanceMap | None:
        if self.mode != "net":
            return None
        with clock("masknet"):
            found = self._run("masknet", {"image": canvas})
        with clock("separate"):
            return mode_instance_map(self.bundle.manifest, self.mode, found["boxes"], found["scores"], found["masks"])

    def _embed(self, patches: Patches) -> Floats:
        """One batch through the re-ID network: `mgts`, or `idnet`, which takes the original alone."""
        inputs = {"original": patches.original, "foreground": patches.foreground}
        wanted = {name: inputs[name] for name in self.bundle.model(self._reid).inputs}
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
