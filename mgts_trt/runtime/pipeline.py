"""`PersonSearch`, what a program opens and calls: detector, mask net and re-ID joined as the paper joins them (Fig. 1).

It chooses what to run on; the work is done by the pipeline of that backend, see `mgts_trt.runtime.protocol.Pipeline`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, overload

from mgts_trt._typing import Array, Self
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.default import default_bundle
from mgts_trt.bundle.signature import Key
from mgts_trt.choices import Backend, LoweringChoice, Mode
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.plans.plan import most_built
from mgts_trt.runtime.host_joint import JointHostPipeline
from mgts_trt.runtime.host_pipeline import HostPipeline
from mgts_trt.runtime.modes import MODELS_OF_MODE, default_mode, require_mode
from mgts_trt.runtime.people import People
from mgts_trt.runtime.protocol import Pipeline
from mgts_trt.runtime.session.backends import Runtime, on_cpu, open_session, select_runtime, without_tensorrt
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.tuned import FASTEST, Setting, recall
from mgts_trt.runtime.stream import DEPTH, Errors, PeopleStream


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
    `backend`, `precision`, `threads`, `ops` and `graphs` then do not apply.

    Attributes:
        bundle: The bundle.
        mode: `none`, `net` or `box` (Table 6), or `joint`.
        precision: Of the models.
        runtime: Backend, device, why this backend, and what of it could not be captured in CUDA graphs.
        pictures_in_flight: At once, on a GPU; what `stream` and `warm_up` take by default.
        batch_size: Most pictures that `batch` and `stream` hand to a network in one run.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        mode: Mode | None = None,
        backend: Backend = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        spinning: bool = False,
        ops: LoweringChoice = "auto",
        graphs: bool = True,
        max_people: int | None = None,
        pictures_in_flight: int | None = None,
        batch_size: int | None = 1,
        sessions: Mapping[str, Session] | None = None,
    ) -> None:
        mode = mode or default_mode(bundle)
        require_mode(bundle, mode)
        self.bundle, self.mode = bundle, mode
        models = MODELS_OF_MODE[mode]
        limits = {"max_people": max_people, "pictures_in_flight": pictures_in_flight, "batch_size": batch_size}
        for name, value in limits.items():
            if value is not None and value < 1:
                raise BackendError(f"{name} is {value}, but 1 or more is expected.")
        together = most_built(bundle, models) if batch_size is None else batch_size
        self._limits = {**limits, "batch_size": together}
        tuned = recall(bundle, mode, precision) if backend == "auto" and sessions is None else None
        if precision == FASTEST:
            precision = tuned.precision if tuned else "fp32"
        given = (threads, spinning, ops, graphs, pictures_in_flight)
        if tuned and given == (None, False, "auto", True, None):
            threads, spinning, ops = tuned.threads, tuned.spinning, tuned.ops
            graphs, pictures_in_flight = tuned.graphs, tuned.pictures_in_flight
        else:
            tuned = None
        self.precision, self._spinning, self.batch_size = precision, spinning, batch_size or 1
        self.pictures_in_flight = pictures_in_flight or DEPTH
        self._opened: dict[str, Session] = {}
        self._warm = 0  # pictures in flight that all is warm for
        if sessions is not None:
            reid = sessions[models[-1]]
            self.precision = reid.precision
            self.runtime = Runtime(reid.backend, "as its sessions", "ready sessions were passed")
            self._pipeline = _host_pipeline(bundle, mode, sessions, max_people, self.batch_size)
            return
        self.runtime = _select(bundle, models, precision, backend, threads, ops, together, tuned)
        try:
            self._pipeline = self._open_pipeline(backend, threads, graphs)
        except BaseException:
            self._close_models()
            raise
        if self.runtime.backend == "tensorrt":
            self.batch_size = together
        self.runtime = replace(self.runtime, graph_refusals=self._pipeline.graph_refusals)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        mode: Mode | None = None,
        backend: Backend = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        spinning: bool = False,
        ops: LoweringChoice = "auto",
        graphs: bool = True,
        max_people: int | None = None,
        pictures_in_flight: int | None = None,
        batch_size: int | None = 1,
        public_key: Key | None = None,
    ) -> Self:
        """Open a bundle for searching.

        Args:
            path: The bundle's folder; by default `$MGTS_BUNDLE`, `./bundle`, or an installed one: see `default_bundle`.
            mode: `net` runs the mask net; `box` takes the box as a weak mask and is about twice as fast (Sec. 4.7);
                `none` is the single-stream baseline, or another's re-ID network; `joint` finds and describes people
                with one network (Table 3). By default the first of these four that the bundle holds.
            backend: `auto` takes TensorRT where it can run, else ONNX Runtime, on a GPU if it can and on the CPU
                otherwise; or what `mgts-trt tune` found fastest on this machine, where neither `threads`, `ops` nor
                `pictures_in_flight` ask for something else. `runtime.reason` says why.
            precision: `fp32`, or another the bundle holds; `auto` is what `mgts-trt tune` found fastest, `fp32` before.
            threads: CPU threads of one call; all available ones by default.
            spinning: On ONNX Runtime, whether threads without work spin; each network's are then in the next one's way.
            ops: On TensorRT, how the plans compute the networks' operators (`mgts-trt build --ops`): as layers of the
                `graph`, by a `kernel` between two engines, by a `plugin` inside the engine; `auto` takes the best of
                those that are built.
            graphs: On TensorRT, whether engines' runs are captured in CUDA graphs; see `Runtime.graph_refusals`.
            max_people: Most people that re-ID describes at once, which sizes its memory; more in a picture are
                described in turns. By default what the networks were exported for, 64.
            pictures_in_flight: On TensorRT, most pictures at once, of calls and streams together, each with memory of
                its own; those beyond wait. By default two of calls, and as many of streams as they are given `depth`.
            batch_size: Most pictures that `batch` and `stream` hand to a network in one run. With 1 the networks' sizes
                are fixed before they are loaded. On the CPU more are no faster; on TensorRT no more are taken than
                plans are built for (`mgts-trt build --batch`), and each batch in flight has memory for so many. None
                means as many as plans are built for, and 1 where TensorRT does not run.
            public_key: Whose signature the bundle, and plans that are run, must have; see `Bundle.open`.

        Raises:
            BundleError: See `Bundle.open` and `default_bundle`.
            BackendError: The backend is unknown or cannot run here.
        """
        return cls(
            Bundle.open(default_bundle() if path is None else path, public_key=public_key),
            mode=mode,
            backend=backend,
            precision=precision,
            threads=threads,
            spinning=spinning,
            ops=ops,
            graphs=graphs,
            max_people=max_people,
            pictures_in_flight=pictures_in_flight,
            batch_size=batch_size,
        )

    @property
    def memory_plan(self) -> str:
        """How much of the GPU's memory it takes, and for what, in words; empty where TensorRT does not run."""
        return self._pipeline.memory_plan

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free everything; on TensorRT, after what other threads have in flight.

        Closing twice is harmless; calling a closed pipeline raises `BackendError`.
        """
        self._warm = 0
        self._pipeline.close()
        self._close_models()

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
        return self._pipeline.search(image, top=top, stream=stream)

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
        return self._pipeline.embed(image, boxes, stream=stream)

    @overload
    def batch(
        self, images: Iterable[Any], *, top: int | None = ..., errors: Literal["raise"] = ...
    ) -> list[People]: ...

    @overload
    def batch(
        self, images: Iterable[Any], *, top: int | None = ..., errors: Literal["return"]
    ) -> list[People | Exception]: ...

    def batch(self, images: Iterable[Any], *, top: int | None = None, errors: Errors = "raise") -> list[Any]:
        """Search pictures together: the networks take up to `batch_size` of them in one run, re-ID people of all.

        What is found is what one picture at a time gives, up to the rounding of sums in another order.

        Args:
            images: As for calling the pipeline. Of an iterator, no more are read than are searched together.
            top: As for calling the pipeline, of each picture.
            errors: What becomes of a picture that cannot be searched: `raise` raises, and nothing is returned; `return`
                puts the exception in its place. What `images` itself raises is always raised.

        Returns:
            The people of each picture, in order. A picture's `timings` are its share of those it was searched with.

        Raises:
            ImageError: With `raise`, one is no picture.
            BackendError: `errors` is neither, the pipeline is closed, or the backend fails.
        """
        return self._pipeline.batch(images, top=top, errors=errors)

    @overload
    def stream(
        self, images: Iterable[Any], *, depth: int | None = ..., top: int | None = ..., errors: Literal["raise"] = ...
    ) -> PeopleStream[People]: ...

    @overload
    def stream(
        self, images: Iterable[Any], *, depth: int | None = ..., top: int | None = ..., errors: Literal["return"]
    ) -> PeopleStream[People | Exception]: ...

    def stream(
        self, images: Iterable[Any], *, depth: int | None = None, top: int | None = None, errors: Errors = "raise"
    ) -> PeopleStream[Any]:
        """Search picture after picture; on TensorRT several are in flight at once.

        Example:
            ```python
            for people in search.stream(map(read_image, paths)):
                print(people.boxes)
            ```

        Args:
            images: As for calling the pipeline, one after the other. They are read when there is room for one more.
                Those of a sequence, such as a list, are there already and go in batches of `batch_size`; of a
                `mgts_trt.runtime.stream.ReadAhead`, as many as are ready; of another iterator, one by one.
            depth: Most pictures in flight, or batches, by default `pictures_in_flight`, and never more than was passed
                for it. Each has memory of its own on the GPU. ONNX Runtime has one in flight.
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
        return self._pipeline.stream(images, depth=self._depth(depth), top=top, errors=errors)

    def warm_up(
        self,
        *,
        depth: int | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run everything once that is slow the first time, so that no picture waits for it.

        TensorRT-RTX compiles kernels at the first run of each size of batch, CUDA graphs are captured, our kernels are
        compiled and memory is allocated; what was compiled is then on disk. Seconds to a minute at the first start on
        a machine, little later. On the CPU each network runs once. Call it before pictures come, or in a thread beside
        them: other calls may go on meanwhile, and wait for what is being compiled. A second call does nothing, unless
        with a greater depth.

        Args:
            depth: Pictures in flight to prepare for: what `stream` will be given, and the same by default.
            on_progress: Called after each step with how many are done, and how many there are.
            stop: Asked before each step whether to leave it.

        Raises:
            BackendError: `depth` is below 1, the pipeline is closed, or the backend fails.
        """
        depth = self._depth(depth)
        if depth < 1:
            raise BackendError(f"depth is {depth}, but at least one picture is in flight. Pass 1 or more.")
        if depth > self._warm:
            self._pipeline.warm_up(depth, on_progress, stop)
            self._warm = 0 if stop() else depth

    def _depth(self, depth: int | None) -> int:
        return self.pictures_in_flight if depth is None else depth

    def _open_pipeline(self, backend: Backend, threads: int | None, graphs: bool) -> Pipeline:
        if self.runtime.backend == "tensorrt":
            try:
                return _gpu_pipeline(self.bundle, self.mode, self.runtime, graphs, self._limits)
            except MgtsError as error:  # plans that load, and do not run: no memory left, say
                if backend == "tensorrt":
                    raise
                self.runtime.close()
                self.runtime = without_tensorrt(str(error), threads)
        try:
            self._open_sessions(threads)
        except BackendError as error:  # a CUDA provider that is there, and does not load
            if backend != "auto" or self.runtime.backend != "onnxruntime-cuda":
                raise
            self._close_models()
            self.runtime = on_cpu(f"{self.runtime.reason} {error}", threads)
            self._open_sessions(threads)
        return _host_pipeline(self.bundle, self.mode, self._opened, self._limits["max_people"], self.batch_size)

    def _open_sessions(self, threads: int | None) -> None:
        for model in MODELS_OF_MODE[self.mode]:
            self._opened[model] = open_session(
                self.bundle,
                model,
                self.runtime,
                precision=self.precision,
                threads=threads,
                spinning=self._spinning,
                batch=self.batch_size,
            )

    def _close_models(self) -> None:
        for session in self._opened.values():
            session.close()
        self.runtime.close()


def _select(
    bundle: Bundle,
    models: tuple[str, ...],
    precision: str,
    backend: Backend,
    threads: int | None,
    ops: LoweringChoice,
    batch: int,
    tuned: Setting | None,
) -> Runtime:
    """What was tuned, if it still runs; else as without."""
    if tuned is not None:
        with suppress(BackendError):  # a GPU that is taken away, plans that were deleted
            runtime = select_runtime(
                bundle, models, precision=precision, backend=tuned.backend, threads=threads, ops=ops, batch=batch
            )
            return replace(runtime, reason="`mgts-trt tune` found it the fastest on this machine")
    return select_runtime(bundle, models, precision=precision, backend=backend, threads=threads, ops=ops, batch=batch)


def _host_pipeline(
    bundle: Bundle, mode: Mode, sessions: Mapping[str, Session], max_people: int | None, batch: int
) -> Pipeline:
    if mode == "joint":
        return JointHostPipeline(bundle, sessions, batch=batch)
    return HostPipeline(bundle, mode, sessions, max_people=max_people, batch=batch)


def _gpu_pipeline(bundle: Bundle, mode: Mode, runtime: Runtime, graphs: bool, limits: Mapping[str, Any]) -> Pipeline:
    from mgts_trt.runtime.gpu.gpu_pipeline import GpuPipeline  # here: a machine without a GPU need not load it

    return GpuPipeline(bundle.manifest, mode, runtime.engines, graphs=graphs, **limits)
