"""The constants that a chain's operators read, in `constants.npz` beside its engines."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.errors import PlanError
from mgts_trt.plans.chain import CONSTANTS, Chain


def save_constants(folder: Path, constants: Mapping[str, Array]) -> str | None:
    """Write a chain's constants, the same bytes for the same arrays.

    Args:
        folder: Of the plan.
        constants: Tensor's name → float32 array; nothing is written where there are none.

    Returns:
        The file's SHA-256.

    Raises:
        OSError: The disk refuses.
    """
    if not constants:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in constants.items():  # as np.savez, which takes no array called "file"
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    data = buffer.getvalue()
    (folder / CONSTANTS).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_constants(folder: Path, chain: Chain) -> dict[str, Array]:
    """Read a chain's constants.

    Args:
        folder: Of a plan that has been verified (`mgts_trt.plans.plan.find_plan`), and this file with it.
        chain: The plan's.

    Returns:
        Tensor's name → float32 array.

    Raises:
        PlanError: They cannot be read, or are others than the chain's.
    """
    if not chain.constants:
        return {}
    path = folder / CONSTANTS
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in chain.constants}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PlanError(f"Cannot read {path}: {error}. Build the plan again with `mgts-trt build`.") from error
    for name, array in found.items():
        if not chain.tensors[name].admits(array.dtype.name, array.shape):
            raise PlanError(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected {chain.tensors[name]}. Build the plan "
                "again with `mgts-trt build`."
            )
    return found
