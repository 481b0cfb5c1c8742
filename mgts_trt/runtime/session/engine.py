"""A TensorRT plan in GPU memory, and its execution contexts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.caches import RuntimeCache
from mgts_trt.plans.chain import EngineStep
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plan import Plan
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.session.base import LoadedPlan
from mgts_trt.runtime.session.checked_context import CheckedContext


class Engine(LoadedPlan):
    """An engine of a plan, deserialised; of most, the only one. See `mgts_trt.runtime.session.base.LoadedPlan`.

    Args:
        plan: One whose identity and checksums have been verified (`mgts_trt.plans.plan.find_plan`).
        step: Which of its engines.
        flavour: Loads it.
        device: Where it runs.
        gpu: What runs it, as far as known; part of the runtime cache's key.

    Attributes:
        inputs: Name → tensor.
        outputs: Name → tensor.
        profile: Sizes each named dimension may take.
        folder: The plan's.
        workspace_bytes: Device memory a context needs at most, besides inputs and outputs.

    Raises:
        BackendError: TensorRT refuses the plan, or its tensors are not those its sidecar names.
    """

    def __init__(
        self, plan: Plan, step: EngineStep, flavour: Flavour, device: DeviceLayer, gpu: Gpu | None = None
    ) -> None:
        record = plan.record
        self.flavour, self.record, self.device, self.folder = flavour, record, device, plan.folder
        self.inputs, self.outputs = (
            {name: record.chain.tensors[name] for name in names} for names in (step.inputs, step.outputs)
        )
        self.profile = record.profile
        self.name = record.identity.model if len(record.chain.engines) == 1 else step.file
        self._errors = flavour.create_error_log()
        self._cache = RuntimeCache(flavour, gpu, step.sha256) if flavour.has_runtime_cache() else None
        device.make_current()
        # An engine uses its runtime, and TensorRT keeps neither the runtime nor the error log alive.
        self._runtime: Any = flavour.create_runtime(self._errors)
        file = plan.file(step)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise BackendError(f"Cannot read {file}: {error.strerror}.") from error
        self._engine: Any = self.call("deserialising", self._runtime.deserialize_cuda_engine, data)
        self._check_tensors(file)
        self.weights_bytes = step.bytes
        self.workspace_bytes = int(self._engine.device_memory_size_v2)

    @property
    def closed(self) -> bool:
        """Whether it can make no more contexts."""
        return self._engine is None

    def create_context(self) -> "EngineContext":
        """A new execution context, without a workspace.

        TensorRT-RTX compiles the plan for the GPU here, unless its runtime cache remembers.

        Raises:
            BackendError: The engine is closed, or TensorRT refuses.
        """
        if self._engine is None:
            raise BackendError(f"The engine of {self.name} is closed; open the bundle again.")
        trt = self.flavour.module
        self.device.make_current()
        option = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is not None:
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(option)
            # The other strategy replaces kernels while it runs: a captured graph would keep the slow ones for good.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            self._cache.attach(config)
            option = config
        native = self.call("creating a context of", self._engine.create_execution_context, option)
        return EngineContext(self, native, option)

    @property
    def has_cache(self) -> bool:
        """Whether it is compiled at run time, and `save_cache` keeps what was."""
        return self._cache is not None

    def save_cache(self) -> None:
        """Keep on disk what TensorRT-RTX has compiled until now; worth a call after a run at new shapes."""
        if self._cache is not None:
            self._cache.save()

    def close(self) -> None:
        """Let go of the plan; its memory is freed with its last context. Closing twice is harmless."""
        if self._engine is not None:
            self.save_cache()
            self._engine = None

    def call(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call TensorRT, and turn what it reports into an error.

        Args:
            stage: What is being done, for the message.
            function: Fails by None, False, an exception, or an error reported in this thread.
            *arguments: Its arguments.

        Returns:
            What `function` returns.

        Raises:
            BackendError: It failed; the message has TensorRT's words.
        """
        why = ""
        answer = None
        with self._errors.gather() as reported:
            try:
                answer = function(*arguments)
            except (RuntimeError, TypeError, ValueError) as error:
                why = str(error)
        if why or reported or answer is None or answer is False:
            words = dict.fromkeys(text.strip() for text in (*(text for _, text in reported), why) if text.strip())
            reason = "; ".join(words) or "it gives no reason"
            identity = self.record.identity
            raise BackendError(
                f"{self.flavour} failed in {stage} {self.name} ({identity.precision}, {identity.target}): "
                f"{reason}. Check the GPU and its driver with `mgts-trt doctor`, or use --backend onnxruntime."
            )
        return answer

    def _check_tensors(self, file: Path) -> None:
        engine, trt = self._engine, self.flavour.module
        found: dict[str, tuple[bool, str, tuple[int, ...]]] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = self.flavour.dtype(engine.get_tensor_dtype(name))
            found[name] = (is_input, dtype, tuple(engine.get_tensor_shape(name)))
        for specs, is_input in ((self.inputs, True), (self.outputs, False)):
            for name, spec in specs.items():
                shape = tuple(-1 if isinstance(size, str) else size for size in spec.shape)
                if found.pop(name, None) != (is_input, spec.dtype, shape):
                    raise BackendError(
                        f"{file} has no {'input' if is_input else 'output'} {name} {spec}. Build it again."
                    )
        if found:
            raise BackendError(f"{file} has tensors its sidecar does not name: {', '.join(found)}. Build it again.")


class EngineContext(CheckedContext):
    """See `mgts_trt.runtime.session.base.ExecutionContext`; made by `Engine.create_context`."""

    def __init__(self, engine: Engine, native: Any, option: Any) -> None:
        super().__init__(engine.name, engine.inputs, engine.outputs, engine.profile)
        # Nothing says that the context keeps its configuration alive.
        self.engine, self._native, self._option = engine, native, option
        self._fitted: int | None = None

    @property
    def workspace_bytes(self) -> int:
        """See `ExecutionContext.workspace_bytes`."""
        return self.engine.workspace_bytes if self._fitted is None else self._fitted

    def fit_workspace(self) -> int:
        """See `ExecutionContext.fit_workspace`."""
        self.engine.device.make_current()
        size = self.engine.call("sizing", self._live().update_device_memory_size_for_shapes)
        # 0 says that it failed, or that it needs none.
        self._fitted = int(size) or self.engine.workspace_bytes
        self._lent = False
        return self._fitted

    def shape(self, name: str) -> tuple[int, ...]:
        """See `ExecutionContext.shape`."""
        self._spec(name)
        shape = tuple(self._live().get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise self._open(name)
        return shape

    def capturable(self, stream: Stream) -> bool:
        """See `ExecutionContext.capturable`."""
        # TensorRT-RTX alone can tell.
        ask = getattr(self._live(), "is_stream_capturable", None)
        self.engine.device.make_current()
        return True if ask is None else bool(ask(stream.handle))

    def close(self) -> None:
        """See `ExecutionContext.close`."""
        self._native = None

    def _lend(self, pointer: int, size: int) -> None:
        native, fitted = self._live(), self._fitted is not None

        def lend() -> bool:
            if fitted:
                native.device_memory = pointer
            else:  # it insists on what the largest shapes need
                native.set_device_memory(pointer, size)
            return True  # they return nothing

        self.engine.call("lending a workspace to", lend)

    def _resize(self, name: str, shape: tuple[int, ...]) -> None:
        self.engine.device.make_current()
        self.engine.call("setting a shape of", self._live().set_input_shape, name, shape)

    def _address(self, name: str, pointer: int) -> None:
        self.engine.call("binding a tensor of", self._live().set_tensor_address, name, pointer)

    def _run(self, stream: Stream) -> None:
        self.engine.device.make_current()
        self.engine.call("running", self._live().execute_async_v3, stream.handle)

    def _live(self) -> Any:
        if self._native is None:
            raise self._closed()
        return self._native
