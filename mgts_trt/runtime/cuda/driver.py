"""CUDA's driver: its calls, and its failures as errors that say what was being done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mgts_trt.errors import BackendError


class Driver:
    """Calls of CUDA's driver by name.

    Args:
        module: `cuda.bindings.driver`, or what answers as it does: a tuple of a `CUresult` and values.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The value of a call, or None where it has none.

        Raises:
            RuntimeError: It failed; the message has the driver's words.
        """
        error, *values = getattr(self.module, name)(*arguments)
        if error != self.module.CUresult.CUDA_SUCCESS:
            _, text = self.module.cuGetErrorString(error)
            raise RuntimeError(f"{error.name}: {text.decode() if text else 'no text'}")
        return values[0] if values else None


@contextmanager
def cuda_errors(doing: str) -> Iterator[None]:
    """Say what was being done when CUDA failed.

    Raises:
        BackendError: Whatever else the block raises.
    """
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # cuda.core's own, the loader's, ctypes'
        text = str(error).strip().splitlines()
        raise BackendError(
            f"CUDA failed in {doing}: {text[0].rstrip('.') if text else type(error).__name__}. "
            "`mgts-trt doctor` says what this machine can run."
        ) from error
