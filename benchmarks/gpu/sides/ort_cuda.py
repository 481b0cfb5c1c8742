"""ONNX Runtime's CUDA provider: the other common way to run these files on a GPU."""

from collections.abc import Callable, Mapping

from mgts_trt._typing import Array
from mgts_trt.runtime.session.onnxruntime import CudaSession


class OrtCudaSession(CudaSession):
    """The product's session, which copies arrays to the device and back, and beside it a run that copies nothing."""

    def resident(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """A run on inputs that are on the device already, whose outputs stay there; it waits for the device."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, self.device, 0))
        for name in self.outputs:
            binding.bind_output(name, self.device, 0)

        def run() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run
