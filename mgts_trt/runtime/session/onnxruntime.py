"""A model on ONNX Runtime's CPU provider: the backend that runs everywhere."""

from collections.abc import Mapping
from typing import Any

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import check_arrays
from mgts_trt.errors import BackendError
from mgts_trt.machine.cpu import available_cores

_NUMPY_NAMES = {"float": "float32", "double": "float64"}

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

    Raises:
        BundleError: The bundle does not hold the model in this precision.
        BackendError: ONNX Runtime refuses the file, or the file's tensors are not those the manifest names.
    """

    backend = "onnxruntime"

    def __init__(self, bundle: Bundle, model: str, precision: str, *, threads: int | None = None) -> None:
        import onnxruntime as ort  # here: it takes longer to import than everything else together

        if threads is not None and threads < 1:
            raise BackendError(f"At least one thread is needed, got {threads}.")
        path = bundle.model_path(model, precision)
        entry = bundle.model(model)
        self.model, self.precision = model, precision
        self.inputs, self.outputs = entry.inputs, entry.outputs
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.log_severity_level = 3
        options.add_session_config_entry(*PLAIN_QDQ)
        try:
            self._session: Any = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
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
            outputs = self._session.run(list(self.outputs), dict(inputs))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed in {self.model}: {_first_line(error)}") from error
        arrays = dict(zip(self.outputs, outputs, strict=True))
        check_arrays(f"outputs of {self.model}", self.outputs, arrays)
        return arrays

    def close(self) -> None:
        """See `Session.close`."""
        self._session = None


def _dtype(onnx_type: str) -> str:
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return _NUMPY_NAMES.get(name, name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
