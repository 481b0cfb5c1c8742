"""What `mgts-trt tune` found fastest on this machine, kept in the cache folder, and obeyed by `auto`."""

import json
import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import MANIFEST
from mgts_trt.choices import Backend, LoweringChoice, Mode
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import VARIABLE, DiskCache
from mgts_trt.machine.cpu import available_cores, cpu_name
from mgts_trt.machine.files import file_sha256
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.version import __version__

KIND = "tuned"
"""Name of the cache's folder."""
FASTEST = "auto"
"""In the place of a precision: whichever is fastest."""

_log = logging.getLogger(__name__)


class Setting(BaseModel):
    """How a pipeline is opened; see `PersonSearch.open` for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Backend
    precision: str = "fp32"
    threads: int | None = Field(default=None, ge=1)
    spinning: bool = False
    ops: LoweringChoice = "auto"
    graphs: bool = True
    pictures_in_flight: int | None = Field(default=None, ge=1)

    def __str__(self) -> str:
        parts = [self.backend, self.precision]
        if self.threads is not None:
            parts.append(f"{self.threads} thread{'s' * (self.threads > 1)}{', spinning' * self.spinning}")
        if self.backend == "tensorrt":
            parts.append(f"operators {self.ops}{'' if self.graphs else ', no CUDA graphs'}")
        if self.pictures_in_flight is not None:
            parts.append(f"{self.pictures_in_flight} in flight")
        return ", ".join(parts)


def require_cache() -> DiskCache:
    """Where results are kept.

    Raises:
        BackendError: There is no cache folder.
    """
    cache = DiskCache(KIND)
    if cache.folder is None:
        raise BackendError(
            f"There is no cache folder to keep the result in. Set {VARIABLE} to a folder, or leave it unset."
        )
    return cache


def keep(bundle: Bundle, mode: Mode, precision: str, setting: Setting) -> None:
    """Keep what is fastest for a mode and precision, or of all precisions for `FASTEST`.

    Raises:
        BackendError: There is no cache folder.
    """
    require_cache().store(_key(bundle, mode, precision), setting.model_dump_json().encode())


def recall(bundle: Bundle, mode: Mode, precision: str) -> Setting | None:
    """What was kept on this machine for this very bundle; None if nothing was, or it is of another version."""
    cache = DiskCache(KIND)
    if cache.folder is None or not cache.folder.is_dir():  # most machines: nothing need be asked of them
        return None
    content = cache.load(_key(bundle, mode, precision))
    if content is None:
        return None
    try:
        return Setting.model_validate_json(content)
    except ValidationError:
        _log.warning("What `mgts-trt tune` kept for this machine cannot be read. Run it again.")
        return None


def _key(bundle: Bundle, mode: Mode, precision: str) -> str:
    """Another bundle, CPU, number of cores, GPU, driver or version is another machine to tune."""
    return json.dumps(
        {
            "bundle": file_sha256(bundle.root / MANIFEST),
            "mode": mode,
            "precision": precision,
            "cpu": [cpu_name(), available_cores()],
            "gpus": [[gpu.name, gpu.sm, gpu.driver] for gpu in find_gpus()],
            "version": __version__,
        },
        sort_keys=True,
    )
