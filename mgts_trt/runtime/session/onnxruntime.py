"""A model on ONNX Runtime: on its CPU provider, the backend that runs everywhere, or on a GPU by its CUDA provider."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.cpu_forms import with_cpu_forms
from mgts_trt.bundle.recipe import PICTURES, Profile, batch_sizes, load_recipe
from mgts_trt.bundle.tensors import TensorSpec, check_arrays
from mgts_trt.errors import BackendError
from mgts_trt.machine.cpu import available_cores
from mgts_trt.plans.batch import at_batch

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_NUMPY_NAMES = {"float": "float32", "double": "float64"}

_log = logging.getLogger(__name__)

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

PLAIN_QDQ = ("session.disable_quant_qdq", "1")
"""Compute INT8 models as their graphs say, rounding around float products. ONNX Runtime's fused int8 kernels for CPUs,
which it would take otherwise, give other numbers where scales are half: the trained `edge` IDNet's embeddings then have
a cosine of 0.67 with FP32's, and 0.998 with this (ONNX Runtime 1.32, AVX2)."""


class OnnxRuntimeSession:
    """See `mgts_trt.runtime.session.base.Session`.

    Args:
        bundle: An opened bundle.
        model: Name of the model in it.
        precision: Which of its files.
        threads: Cores to use for one run; by default all this process may use.
        spinning: Whether threads without work spin for a while. Each model has threads of its own: those of the one
            that ran last are then in the way of the next one's.
        batch: Most pictures a run of the detector or mask net. With 1 the graph's sizes are fixed before it is loaded.

    Raises:
        BundleError: The bundle does not hold the model in this precision.
        BackendError: ONNX Runtime refuses the file, or the file's tensors are not those the manifest names.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle,
        model: str,
        precision: str,
        *,
        threads: int | None = None,
        spinning: bool = False,
        batch: int = 1,
    ) -> None:
        import onnxruntime as ort  # here: it takes longer to import than everything else together

        if threads is not None and threads < 1:
            raise BackendError(f"At least one thread is needed, got {threads}.")
        path = bundle.model_path(model, precision)
        entry = bundle.model(model)
        self.model, self.precision = model, precision
        self.inputs, self.outputs = at_batch(entry.inputs, batch), at_batch(entry.outputs, batch)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.log_severity_level = 3
        options.add_session_config_entry(*PLAIN_QDQ)
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        if batch == 1:
            options.add_free_dimension_override_by_name(PICTURES, 1)
        try:
            self._session: Any = self._open(path, options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BackendError(f"ONNX Runtime {ort.__version__} cannot load {path}: {_first_line(error)}") from error
        for kind, specs, values in (
            ("inputs", self.inputs, self._session.get_inputs()),
            ("outputs", self.outputs, self._session.get_outputs()),
        ):
            found = {value.name: f"{_dtype(value.type)} [{', '.join(map(str, value.shape))}]" for value in values}
            expected = {name: str(spec) for name, spec in specs.items()}
            if found != expected:
                is_, should = (", ".join(f"{name} {what}" for name, what in each.items()) for each in (found, expected))
                raise BackendError(
                    f"{path} is not {model} as the manifest describes it: its {kind} are {is_}, expected are {should}. "
                    "Copy the bundle again, or export it again."
                )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session.run`."""
        if self._session is None:
            raise BackendError(f"The session of {self.model} is closed; open a new one.")
        check_arrays(f"inputs of {self.model}", self.inputs, inputs)
        try:
            outputs = self._outputs(self._session, inputs)
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed in {self.model}: {_first_line(error)}") from error
        arrays = dict(zip(self.outputs, outputs, strict=True))
        check_arrays(f"outputs of {self.model}", self.outputs, arrays)
        return arrays

    def close(self) -> None:
        """See `Session.close`."""
        self._session = None

    def _providers(self) -> list[Any]:
        return [CPU]

    def _open(self, path: Path, options: Any) -> Any:
        import onnxruntime as ort

        providers = self._providers()
        if providers == [CPU] and (model := with_cpu_forms(path)) is not None:
            # Bytes have no folder that weights in other files could lie in.
            options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent))
            try:
                session = ort.InferenceSession(model, options, providers=providers)
            except Exception as error:  # before 1.21 ONNX Runtime looks for weights in the working directory
                _log.warning(
                    "ONNX Runtime %s cannot load %s with a CPU's forms of its operators (%s) and takes the file's own, "
                    "which are slower.", ort.__version__, path, _first_line(error),
                )  # fmt: skip
            else:
                session._model_bytes = None  # kept for another choice of providers: a model's whole size
                return session
        return ort.InferenceSession(path, options, providers=providers)

    def _outputs(self, session: Any, inputs: Mapping[str, Array]) -> list[Array]:
        found: list[Array] = session.run(list(self.outputs), dict(inputs))
        return found


class BoundSession(OnnxRuntimeSession):
    """A model whose inputs and outputs stay where they are on a device, by I/O binding; see `Session`.

    Each size of batch has memory of its own, allocated when it is first met; batches in between are filled up with
    zeros, so that cuDNN chooses its algorithms for few sizes. Runs in several threads take turns.

    Args:
        bundle: An opened bundle.
        model: Name of the model in it.
        precision: Which of its files.
        threads: Cores for what the provider leaves to the CPU.
        spinning: Of these.
        batch: See `OnnxRuntimeSession`.

    Attributes:
        provider: ONNX Runtime's name of what runs it, with its options.
        device: ONNX Runtime's name of where arrays are.

    Raises:
        BundleError: The bundle does not hold the model in this precision.
        BackendError: See `OnnxRuntimeSession`; or the provider does not load, and ONNX Runtime would take the CPU.
    """

    provider: ClassVar[tuple[str, dict[str, str]]] = (CPU, {})
    device: ClassVar[str] = "cpu"

    def __init__(
        self,
        bundle: Bundle,
        model: str,
        precision: str,
        *,
        threads: int | None = None,
        spinning: bool = False,
        batch: int = 1,
    ) -> None:
        super().__init__(bundle, model, precision, threads=threads, spinning=spinning, batch=batch)
        profiles = {**load_recipe(model).profile, PICTURES: Profile(min=1, opt=1, max=batch)}
        symbols = {size for spec in self.inputs.values() for size in spec.shape if isinstance(size, str)}
        self._sizes = batch_sizes(profiles[symbols.pop()]) if symbols else ()
        self._lock = threading.Lock()
        self._bindings: dict[int, _Binding] = {}
        if self.provider[0] not in self._session.get_providers():
            self.close()
            raise BackendError(
                f"ONNX Runtime's {self.provider[0]} does not load here, so {model} would run on the CPU. Look at what "
                "CUDA and cuDNN this onnxruntime-gpu wants, with `mgts-trt doctor`."
            )

    def close(self) -> None:
        """See `Session.close`."""
        with self._lock:
            self._bindings.clear()
            super().close()

    def _providers(self) -> list[Any]:
        # What the provider does not know runs on the CPU.
        return [self.provider, CPU] if self.provider[0] != CPU else [self.provider]

    def _outputs(self, session: Any, inputs: Mapping[str, Array]) -> list[Array]:
        rows = next((len(inputs[name]) for name, spec in self.inputs.items() if _varies(spec)), 0)
        size = next((size for size in self._sizes if size >= rows), rows)
        with self._lock:
            if size not in self._bindings:
                self._bindings[size] = _Binding(session, self.inputs, self.outputs, size, self.device)
            found = self._bindings[size].run(session, inputs)
        pairs = zip(self.outputs.values(), found, strict=True)
        return [array[:rows] if _varies(spec) else array for spec, array in pairs]


class CudaSession(BoundSession):
    """A model on ONNX Runtime's CUDA provider, on the first GPU; see `BoundSession`."""

    backend = "onnxruntime-cuda"
    provider = (
        CUDA,
        {
            "device_id": "0",
            # FP32 means FP32, as on every other backend.
            "use_tf32": "0",
            # Measuring all algorithms would make the first run of each size wait for seconds.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The arena would double itself otherwise, on devices that share their memory with the CPU.
            "arena_extend_strategy": "kSameAsRequested",
        },
    )
    device = "cuda"

    def __init__(
        self,
        bundle: Bundle,
        model: str,
        precision: str,
        *,
        threads: int | None = None,
        spinning: bool = False,
        batch: int = 1,
    ) -> None:
        if why := why_no_cuda():
            raise BackendError(why)
        super().__init__(bundle, model, precision, threads=threads, spinning=spinning, batch=batch)

    def _providers(self) -> list[Any]:
        import onnxruntime as ort

        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA's libraries from wheels, which the loader does not find by itself
        return super()._providers()


def why_no_cuda() -> str:
    """Why ONNX Runtime cannot use a GPU here, in a sentence; empty if, as far as can be told, it can."""
    import onnxruntime as ort

    if CUDA in ort.get_available_providers():
        return ""
    return (
        f"ONNX Runtime {ort.__version__} has no CUDA provider; `pip uninstall onnxruntime`, then "
        "`pip install onnxruntime-gpu`, gives it one."
    )


class _Binding:
    """The arrays of one size of batch, on the device."""

    def __init__(
        self, session: Any, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], size: int, device: str
    ) -> None:
        from onnxruntime import OrtValue

        def place(spec: TensorSpec) -> Any:
            # From an array: `ortvalue_from_shape_and_type` leaves junk in rows that nothing is written to.
            return OrtValue.ortvalue_from_numpy(spec.zeros(size), device, 0)

        self._inputs = {name: (place(spec), spec.zeros(size)) for name, spec in inputs.items()}
        self._outputs = {name: place(spec) for name, spec in outputs.items()}
        self._binding = session.io_binding()
        for name, (value, _) in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, session: Any, inputs: Mapping[str, Array]) -> list[Array]:
        for name, (value, staged) in self._inputs.items():
            array = inputs[name]
            if array.shape != staged.shape:
                staged[: len(array)], staged[len(array) :] = array, 0
                array = staged
            value.update_inplace(np.ascontiguousarray(array))
        self._binding.synchronize_inputs()
        session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        # Copies: on a CPU `numpy` shows the memory that the next run writes.
        return [np.array(value.numpy()) for value in self._outputs.values()]


def _varies(spec: TensorSpec) -> bool:
    return any(isinstance(size, str) for size in spec.shape)


def _dtype(onnx_type: str) -> str:
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return _NUMPY_NAMES.get(name, name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
