"""What TensorRT finds out about a GPU, kept between runs.

TensorRT-RTX compiles a plan for the GPU when it is first loaded: its *runtime cache* holds the result, by plan.
TensorRT measures kernels while it builds: its *timing cache* holds the times, for all builds on a GPU.
"""

import json
import logging
from typing import Any

from mgts_trt.machine.cache import DiskCache
from mgts_trt.machine.gpus import Gpu, find_gpus
from mgts_trt.plans.flavour import Flavour

RUNTIME = "runtime"
TIMING = "timing"
"""Names of the two caches' folders."""

_log = logging.getLogger(__name__)


class RuntimeCache:
    """TensorRT-RTX's compiled kernels of one plan on one GPU.

    Args:
        flavour: Loads the plan.
        gpu: Runs it; another GPU or driver has another entry.
        plan_sha256: Of the plan.
        disk: None means the user's cache folder.
    """

    def __init__(self, flavour: Flavour, gpu: Gpu | None, plan_sha256: str, disk: DiskCache | None = None) -> None:
        self._disk = disk or DiskCache(RUNTIME)
        self.key = _key(flavour, gpu, plan=plan_sha256)
        self._cache: Any = None
        self._saved = b""

    def attach(self, config: Any) -> None:
        """Give a runtime configuration (`IRuntimeConfig`) what is on disk, and gather what it adds.

        All configurations of the plan share one cache.
        """
        if self._disk.folder is None:
            return
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            content = self._disk.load(self.key)
            if content is not None and not self._cache.deserialize(content):
                _log.warning(
                    "TensorRT-RTX does not accept the cache file %s. Ignoring it; it will be written again.",
                    self._disk.path(self.key),
                )
            elif content is not None:
                self._saved = content
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write what has been added since, if anything."""
        if self._cache is None:
            return
        content = bytes(self._cache.serialize())
        if content and content != self._saved:
            self._disk.store(self.key, content)
            self._saved = content


class TimingCache:
    """TensorRT's measured kernel times on one GPU; does nothing for a flavour that measures none.

    Args:
        flavour: Builds, on the first GPU.
        disk: None means the user's cache folder.
    """

    def __init__(self, flavour: Flavour, disk: DiskCache | None = None) -> None:
        self._disk = disk or DiskCache(TIMING)
        self._wanted = flavour.has_timing_cache() and self._disk.folder is not None
        gpus = find_gpus() if self._wanted else []
        self.key = _key(flavour, gpus[0] if gpus else None)
        self._cache: Any = None

    def attach(self, config: Any) -> None:
        """Give a builder configuration (`IBuilderConfig`) what is on disk."""
        if not self._wanted:
            return
        # It must live as long as the build.
        self._cache = config.create_timing_cache(self._disk.load(self.key) or b"")
        if self._cache is None or not config.set_timing_cache(self._cache, ignore_mismatch=False):
            _log.warning("TensorRT does not accept the cache file %s. Ignoring it.", self._disk.path(self.key))
            self._cache = config.create_timing_cache(b"")
            config.set_timing_cache(self._cache, ignore_mismatch=False)

    def save(self, config: Any) -> None:
        """Write what the build has measured."""
        if self._wanted and (cache := config.get_timing_cache()) is not None:
            self._disk.store(self.key, bytes(cache.serialize()))


def _key(flavour: Flavour, gpu: Gpu | None, **more: str) -> str:
    place = {"name": gpu.name, "sm": gpu.sm, "driver": gpu.driver} if gpu else None
    return json.dumps({"flavour": flavour.name, "version": flavour.version, "gpu": place, **more}, sort_keys=True)
