"""ONNX Runtime's CUDA provider: the other common way to run these files on a GPU."""

from collections.abc import Callable, Mapping
from typing import Any

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import check_arrays
from mgts_trt.errors import BackendError

PROVIDER = "CUDAExecutionProvider"


class OrtCudaSession:
    """See `mgts_trt.runtime.session.base.Session`.

    Args:
        bundle: An opened bundle.
        model: Name of the model in it.
        precision: Which of its files.

    Raises:
        BackendError: This ONNX Runtime has no CUDA provider, or it does not load.
    """

    backend = "onnxruntime-cuda"

    def __init__(self, bundle: Bundle, model: str, precision: str) -> None:
        import onnxruntime as ort

        if PROVIDER not in ort.get_available_providers():
            raise BackendError(
                f"ONNX Runtime {ort.__version__} has no CUDA provider here: `pip install onnxruntime-gpu` instead of "
                "onnxruntime."
            )
        entry = bundle.model(model)
        self.model, self.precision = model, precision
        self.inputs, self.outputs = entry.inputs, entry.outputs
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            # With the CPU's provider behind it, which takes what CUDA's cannot; PyTorch's CUDA libraries serve it.
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            self._session: Any = ort.InferenceSession(
                bundle.model_path(model, precision), options, providers=[PROVIDER, "CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BackendError(f"ONNX Runtime {ort.__version__} cannot load {model} on CUDA: {error}") from error
        if PROVIDER not in self._session.get_providers():
            raise BackendError(f"ONNX Runtime {ort.__version__} fell back from CUDA to the CPU for {model}.")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session.run`; arrays are copied to the device and back."""
        check_arrays(f"inputs of {self.model}", self.inputs, inputs)
        return dict(zip(self.outputs, self._session.run(list(self.outputs), dict(inputs)), strict=True))

    def resident(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """A run on inputs that are on the device already, whose outputs stay there; it waits for the device."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for name in self.outputs:
            binding.bind_output(name, "cuda", 0)

        def run() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run

    def close(self) -> None:
        """See `Session.close`."""
        self._session = None
