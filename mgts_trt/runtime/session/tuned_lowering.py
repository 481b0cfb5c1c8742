"""Which lowering of the operators `mgts-trt tune` found the fastest on this GPU, for `mgts-trt build` to ask.

What was measured holds for the very files, GPU, driver, TensorRT and plugins it was measured with. The files are its
key; the others are kept beside it, so that what no longer holds can be told from what was never measured.
"""

import json
from typing import TypedDict, get_args

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Lowering
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import DiskCache
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.lowering import plugins_of
from mgts_trt.runtime.session.tuned import KIND, require_cache
from mgts_trt.version import __version__


class _Machine(TypedDict):
    """What a measurement holds for."""

    gpu: str
    driver: str | None
    tensorrt: str
    plugins: str
    version: str


def keep_lowering(bundle: Bundle, precision: str, lowering: Lowering) -> None:
    """Keep what was fastest on this GPU for a precision of a bundle, in whichever mode was tuned last.

    Raises:
        BackendError: There is no cache folder.
    """
    content = json.dumps({"lowering": lowering, "machine": _machine()})
    require_cache().store(_key(bundle, precision), content.encode())


def recall_lowering(bundle: Bundle, precision: str) -> tuple[Lowering | None, str]:
    """What was kept for a precision of a bundle.

    Returns:
        The lowering, or None; and, where something was kept that does not hold here, a sentence that says why not.
    """
    content = DiskCache(KIND).load(_key(bundle, precision))
    if content is None:
        return None, ""
    again = "Run it again, or choose with --ops."
    try:
        kept = json.loads(content)
        lowering, then = kept["lowering"], {str(name): str(value) for name, value in kept["machine"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        lowering, then = None, {}
    if lowering not in get_args(Lowering):
        return None, f"What `mgts-trt tune` found for {precision} cannot be read. {again}"
    now = {name: str(value) for name, value in _machine().items()}
    changed = [
        f"{name} {then.get(name) or 'none'}, here {now[name] or 'none'}" for name in now if then.get(name) != now[name]
    ]
    if changed:
        return (
            None,
            f"What `mgts-trt tune` found for {precision} was of {'; '.join(changed)}, and is left aside. {again}",
        )
    chosen: Lowering = lowering
    return chosen, ""


def _machine() -> _Machine:
    gpus = find_gpus()
    flavour = find_flavour(gpu=gpus[0]) if gpus else None
    try:
        library = plugins_of(flavour) if flavour else None
    except BackendError:  # MGTS_TRT_PLUGINS names what is none, which whoever builds with it is told
        library = None
    return {
        "gpu": gpus[0].name if gpus else "",
        "driver": gpus[0].driver if gpus else "",
        "tensorrt": str(flavour or ""),
        "plugins": library.digest if library else "",
        "version": __version__,
    }


def _key(bundle: Bundle, precision: str) -> str:
    files = {
        name: model.files[precision].sha256
        for name, model in bundle.manifest.models.items()
        if precision in model.files
    }
    return json.dumps({"lowering of": files, "precision": precision}, sort_keys=True)
