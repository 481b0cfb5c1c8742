"""Two flavours of TensorRT, one API.

`tensorrt` builds a plan on the GPU that will run it. `tensorrt_rtx` builds ahead of time on any machine and compiles
for the GPU when the plan is first loaded. What differs between them is behind `Flavour`; `mgts_trt.plans.installed`
imports them.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mgts_trt.bundle.recipe import Builder
from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.listeners import ErrorLog, Message, OnProgress, monitor_class, process_logger
from mgts_trt.plans.support import CURRENT, PORTABLE, FlavourName, runs_on, supports, title

INSTALL = "pip install 'mgts-trt[rtx]'"
"""The command that makes TensorRT available."""

Settings: TypeAlias = dict[str, bool | int]
"""Everything told to the builder that changes the plan it writes."""

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Flavour:
    """One installed TensorRT.

    Attributes:
        name: The Python package.
        version: As the package reports it (`"1.7.1.116"`).
        module: The imported package.
    """

    name: FlavourName
    version: str
    module: Any

    def __str__(self) -> str:
        return f"{self.title} {self.version}"

    @property
    def title(self) -> str:
        """The product's name."""
        return title(self.name)

    @property
    def targets(self) -> tuple[str, ...]:
        """What a plan can be built for.

        TensorRT builds for the GPU it runs on (`current`). TensorRT-RTX also builds one plan for several compute
        capabilities (`portable`; see `mgts_trt.plans.support.PORTABLE_ON`), or a plan for one (`sm_86`).
        """
        if self.name == "tensorrt":
            return (CURRENT,)
        named = (re.fullmatch(r"SM(\d+)", member) for member in dir(self.module.ComputeCapability))
        numbers = sorted(int(match[1]) for match in named if match)
        return (PORTABLE, CURRENT, *(f"sm_{number}" for number in numbers))

    def default_target(self, gpus: Sequence[Gpu] = ()) -> str:
        """What a plan is built for where nothing else is asked.

        TensorRT-RTX's portable plan serves most; a GPU that is here, and that it does not serve, gets a plan of its
        own.
        """
        if gpus and supports(self.name, self.version, gpus[0].sm) and not runs_on(PORTABLE, gpus[0].sm):
            return CURRENT
        return self.targets[0]

    def settings(self, builder: Builder) -> Settings:
        """The recipe's builder settings, completed by what this flavour adds.

        `user_allocation`: the engine allocates nothing while it runs, which capturing it in a CUDA graph needs.
        """
        captured = hasattr(self.module.BuilderFlag, "REQUIRE_USER_ALLOCATION")
        return {**builder.model_dump(), "user_allocation": captured}

    def create_builder(self) -> Any:
        """A TensorRT builder that logs into `collect`.

        Raises:
            BackendError: TensorRT refuses; the plain flavour does without a GPU.
        """
        try:
            return self.module.Builder(process_logger(self.module))
        except (RuntimeError, TypeError) as error:
            raise BackendError(
                f"{self} cannot make a builder here: {error}. It needs a working NVIDIA driver and GPU; "
                f"TensorRT-RTX builds without: `{INSTALL}`."
            ) from error

    def create_runtime(self, errors: ErrorLog | None = None) -> Any:
        """What loads plans; it logs into `collect`.

        Args:
            errors: Told of every error of the runtime, of the engines it loads and of their contexts. TensorRT does
                not keep it alive.
        """
        runtime = self.module.Runtime(process_logger(self.module))
        if errors is not None:
            runtime.error_recorder = errors.recorder
        return runtime

    def layers(self, plan: Path) -> list[str]:
        """Names of the layers of a plan that this version of this flavour built.

        Raises:
            BackendError: It does not load the plan.
            OSError: The file cannot be read.
        """
        with self.collect() as messages:
            engine = self.create_runtime().deserialize_cuda_engine(plan.read_bytes())
            if engine is None:
                errors = "; ".join(message.text for message in messages if message.level == "error")
                raise BackendError(f"{self} does not load the plan: {errors or 'it gives no reason'}.")
            inspector = engine.create_engine_inspector()
            text = inspector.get_engine_information(self.module.LayerInformationFormat.JSON)
        # A plan that was built with more detail has an object where others have the name alone.
        entries = json.loads(text).get("Layers", [])
        return [entry if isinstance(entry, str) else str(entry.get("Name", entry)) for entry in entries]

    def create_error_log(self) -> ErrorLog:
        """An empty collection of TensorRT's errors."""
        return ErrorLog(self.module)

    def has_runtime_cache(self) -> bool:
        """Whether plans are compiled for the GPU when they are loaded, and the result can be kept."""
        return hasattr(self.module, "IRuntimeCache")

    def has_timing_cache(self) -> bool:
        """Whether a build may reuse measured times. TensorRT-RTX measures nothing, and would ask for a GPU."""
        return self.name == "tensorrt"

    def create_config(self, builder: Any, settings: Mapping[str, bool | int], target: str) -> Any:
        """A builder configuration for `target` (`portable` or `sm_…`; `current` has been resolved before).

        Raises:
            BackendError: TensorRT does not accept the target.
        """
        trt = self.module
        config = builder.create_builder_config()
        config.builder_optimization_level = settings["optimization_level"]
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace_mib"] << 20)
        if settings["tf32"]:
            config.set_flag(trt.BuilderFlag.TF32)
        else:
            config.clear_flag(trt.BuilderFlag.TF32)
        if settings["user_allocation"]:
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        if self.name == "tensorrt_rtx" and target != PORTABLE:
            # A GPU that has no name of its own in this version can only be reached as the one that is present.
            capability = getattr(trt.ComputeCapability, target.upper().replace("_", ""), trt.ComputeCapability.CURRENT)
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(capability, 0):
                raise BackendError(
                    f"{self} does not accept the target {target}; it builds for {', '.join(self.targets)}."
                )
        return config

    def dtype(self, data_type: Any) -> str:
        """NumPy's name of a TensorRT data type."""
        name: str = data_type.name
        return _DTYPES.get(name, name.lower())

    def monitor(self, on_progress: OnProgress, cancelled: Callable[[], bool]) -> Any:
        """A progress monitor that calls `on_progress`, and stops the build once `cancelled()`."""
        return monitor_class(self.module)(on_progress, cancelled)

    @contextmanager
    def collect(self) -> Iterator[list[Message]]:
        """Gather what TensorRT logs (errors, warnings, information) inside the `with` block.

        TensorRT keeps one logger a process, so blocks in several threads wait for each other.
        """
        logger = process_logger(self.module)
        with _ONE_AT_A_TIME:
            messages: list[Message] = []
            logger.messages = messages
            try:
                yield messages
            finally:
                logger.messages = None


_ONE_AT_A_TIME = threading.Lock()
