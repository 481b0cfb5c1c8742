"""TensorRT's Python bindings on a simulated device, as far as a session uses them.

Names, signatures and ways to fail are those of the real bindings: a failing call answers None or False and tells the
error recorder. A plan is an ONNX file, which ONNX Runtime runs.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.bundle.tensors import TensorSpec, split_dimension
from mgts_trt.choices import Lowering
from mgts_trt.machine.files import file_sha256
from mgts_trt.plans.batch import at_batch, plan_profile
from mgts_trt.plans.builder.lower import lower
from mgts_trt.plans.chain import Chain, EngineStep, OperatorStep
from mgts_trt.plans.constants import save_constants
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plan import PlanIdentity, PlanRecord
from tests.helpers.simulated import SimulatedDevice

WORKSPACE = 4096


class FakeTensorRT:
    """The package. `fail` names calls that fail, and what they say.

    Attributes:
        device: Runs engines.
        calls: Names of the calls made.
        blobs: What runtime caches were given.
    """

    __version__ = "9.9"

    def __init__(self, device: SimulatedDevice, name: str = "tensorrt_rtx") -> None:
        self.device, self.fail = device, dict[str, str]()
        self.calls: list[str] = []
        self.blobs: list[bytes] = []
        self.compiled = b"kernels"
        self.BuilderFlag = SimpleNamespace()
        self.ILogger = type("ILogger", (), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)})
        self.IErrorRecorder = type("IErrorRecorder", (), {})
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="static", USER_MANAGED="user")
        if name == "tensorrt_rtx":
            self.IRuntimeCache = FakeRuntimeCache
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="lazy", EAGER="eager")
            self.ComputeCapability = SimpleNamespace(SM86=1)

    def Runtime(self, logger: Any) -> "FakeRuntime":  # noqa: N802
        return FakeRuntime(self)

    def attempt(self, name: str, recorder: Any, do: Callable[[], Any], failed: Any) -> Any:
        self.calls.append(name)
        if name in self.fail:
            recorder.report_error(1, self.fail[name])
            return failed
        return do()


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt, self.error_recorder = trt, None

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        make = lambda: FakeEngine(self._trt, self.error_recorder, data)  # noqa: E731
        return self._trt.attempt("deserialize_cuda_engine", self.error_recorder, make, None)


class FakeEngine:
    device_memory_size_v2 = WORKSPACE

    def __init__(self, trt: FakeTensorRT, recorder: Any, data: bytes) -> None:
        self.trt, self.recorder = trt, recorder
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self.tensors = {**self.inputs, **self.outputs}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self.tensors[name].type.removeprefix("tensor(").removesuffix(")")
        return SimpleNamespace(name=kind.upper())

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self.tensors[name].shape)

    def create_runtime_config(self) -> "FakeRuntimeConfig":
        return FakeRuntimeConfig(self.trt)

    def create_execution_context(self, option: Any) -> Any:
        wanted = option.strategy if isinstance(option, FakeRuntimeConfig) else option
        if wanted != "user":
            raise TypeError(f"incompatible function arguments: {wanted}")
        make = lambda: FakeContext(self)  # noqa: E731
        return self.trt.attempt("create_execution_context", self.recorder, make, None)


class FakeRuntimeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.strategy = "static"
        self.dynamic_shapes_kernel_specialization_strategy = "lazy"

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> "FakeRuntimeCache":
        return FakeRuntimeCache(self._trt)

    def set_runtime_cache(self, cache: "FakeRuntimeCache") -> bool:
        self._trt.calls.append("set_runtime_cache")
        return True


class FakeRuntimeCache:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def deserialize(self, blob: bytes) -> bool:
        self._trt.blobs.append(blob)
        return blob.startswith(b"kernels")

    def serialize(self) -> memoryview:
        return memoryview(self._trt.compiled)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine, self._trt = engine, engine.trt
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._memory: tuple[int, int] | None = None

    def set_device_memory(self, memory: int, size: int) -> None:
        self._memory = memory, size

    def update_device_memory_size_for_shapes(self) -> int:
        def do() -> int:
            people = max((shape[0] for shape in self._shapes.values()), default=64)
            self._needed = 64 * people
            return self._needed

        return self._trt.attempt("update_device_memory_size_for_shapes", self._engine.recorder, do, 0)

    def _set_memory(self, memory: int) -> None:
        self._trt.calls.append("device_memory")
        self._memory = memory, self._needed

    device_memory = property(fset=_set_memory)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        def do() -> bool:
            self._shapes[name] = shape
            return True

        return self._trt.attempt("set_input_shape", self._engine.recorder, do, False)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes: dict[str, int] = {}
        for tensor, shape in self._shapes.items():
            for dimension, size in zip(self._engine.tensors[tensor].shape, shape, strict=True):
                if isinstance(dimension, str):
                    times, symbol = split_dimension(dimension)
                    sizes[symbol] = size // times
        spec = TensorSpec(dtype="uint8", shape=self._engine.tensors[name].shape)
        return spec.sized(sizes) if spec.symbols <= sizes.keys() else (-1,) * len(spec.shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        def do() -> bool:
            device, engine = self._trt.device, self._engine
            shapes = {name: self.get_tensor_shape(name) for name in engine.tensors}
            dtypes = {name: np.dtype(_numpy_name(value.type)) for name, value in engine.tensors.items()}
            spans = {
                name: device.span(
                    address, int(np.prod(shapes[name])) * dtypes[name].itemsize, write=name in engine.outputs
                )
                for name, address in self._addresses.items()
            }

            workspace = device.span(*self._memory, write=True)

            def run() -> None:
                workspace.view().fill(0xEE)
                views = {name: span.view().view(dtypes[name]).reshape(shapes[name]) for name, span in spans.items()}
                results = engine.session.run(list(engine.outputs), {name: views[name] for name in engine.inputs})
                for name, result in zip(engine.outputs, results, strict=True):
                    views[name][...] = result
                workspace.view().fill(0xEE)

            device.submit(stream_handle, "execute_async_v3", run, [*spans.values(), workspace])
            return True

        return self._trt.attempt("execute_async_v3", self._engine.recorder, do, False)


def write_plan(
    bundle: Bundle,
    model: str,
    flavour: Flavour,
    target: str,
    precision: str = "fp32",
    lowering: Lowering = "graph",
    batch: int = 1,
) -> PlanRecord:
    """Put a plan of this flavour into a bundle; one with plugins has the operators' functions in their place."""
    identity = PlanIdentity.of(bundle, model, precision, target, flavour, lowering, batch)
    folder = bundle.plans / identity.folder
    folder.mkdir(parents=True, exist_ok=True)
    entry, recipe, path = bundle.model(model), load_recipe(model), bundle.model_path(model, precision)
    with TemporaryDirectory() as graphs:
        lowered = lower(
            path, entry, "kernel" if identity.lowering == "kernel" else "graph", Path(graphs), identity.batch
        )
        steps: list[Any] = []
        for step in lowered.steps:
            if isinstance(step, OperatorStep):
                steps.append(step)
                continue
            file = f"{model}.{sum(isinstance(each, EngineStep) for each in steps)}.plan"
            file = file if identity.lowering == "kernel" else f"{model}.plan"
            (folder / file).write_bytes(step.path.read_bytes())
            size, sha256 = step.path.stat().st_size, file_sha256(step.path)
            inputs, outputs = tuple(step.inputs), tuple(step.outputs)
            steps.append(EngineStep(file=file, sha256=sha256, bytes=size, inputs=inputs, outputs=outputs))
    inputs_of, outputs_of = (at_batch(specs, identity.batch) for specs in (entry.inputs, entry.outputs))
    record = PlanRecord(
        tool="0",
        identity=identity,
        chain=Chain(
            steps=tuple(steps),
            tensors=lowered.tensors,
            constants=tuple(lowered.constants),
            constants_sha256=save_constants(folder, lowered.constants),
        ),
        seconds=0,
        inputs=inputs_of,
        outputs=outputs_of,
        profile=plan_profile(recipe, inputs_of, identity.batch),
        onnx_nodes=1,
        onnx_nodes_with_layer=1,
        layers={},
        warnings=0,
    )
    record.write(folder)
    return record


def _numpy_name(onnx_type: str) -> str:
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return "float32" if name == "float" else name
