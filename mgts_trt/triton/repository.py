"""The folder that Triton serves models from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Backend, Mode
from mgts_trt.errors import MgtsError
from mgts_trt.open_inference.models import ModelSpec, TensorSpec, bundle_specs
from mgts_trt.runtime.modes import held_modes, require_mode
from mgts_trt.triton.model_config import ModelConfig, Tensor
from mgts_trt.triton.model_folders import MARK, require_replaceable, write_model
from mgts_trt.triton.plan_models import NO_ENSEMBLE, PLAN_FILE, plan_config, plans_to_serve
from mgts_trt.version import __version__


@dataclass(frozen=True)
class Served:
    """What is served, and how.

    Attributes:
        bundle: An opened bundle.
        mode: One that it holds.
        backend: As `PersonSearch.open` takes it.
        precision: Likewise.
        threads: Likewise.
        at: Where the bundle lies on the server's machine; by default where it lies here.
        gpus: Numbers of the GPUs, each with instances of its own; without any Triton takes all there are, else the CPU.
        instances: Of each model, a GPU.
        batch: Most requests that are searched together; from 2 on tensors of `person_search` have one dimension more.
        queue: Requests that may wait for a model; the next one is refused.
        max_megapixels: Of one picture.
    """

    bundle: Bundle
    mode: Mode
    backend: Backend = "auto"
    precision: str = "fp32"
    threads: int | None = None
    at: str | None = None
    gpus: Sequence[int] = ()
    instances: int = 1
    batch: int = 1
    queue: int = 64
    max_megapixels: float = 50

    @property
    def parameters(self) -> dict[str, str]:
        """What the models read in Triton."""
        return {
            "bundle": self.at or str(self.bundle.root.resolve()),
            "mode": self.mode,
            "backend": self.backend,
            "precision": self.precision,
            "threads": str(self.threads or ""),
            "max_megapixels": f"{self.max_megapixels:g}",
        }


def write_repository(
    served: Served, out: Path, models: Sequence[str] | None = None, plans: Sequence[str] = (), *, force: bool = False
) -> list[str]:
    """Write models into a model repository: of Triton's Python backend, and plans as they are.

    Other models in it stay as they are. A model's folder is complete before Triton can see it under its name.

    Args:
        served: What is served.
        out: The repository; made if it is not there.
        models: Which of the Python backend, of `bundle_specs`; all of them by default.
        plans: Names of plans' folders: see `mgts_trt.triton.plan_models`.
        force: Replace models of that name that this function wrote before.

    Returns:
        The names of the models.

    Raises:
        BundleError: The bundle does not hold the mode, or the precision.
        PlanError: There is no such plan, or it is altered.
        MgtsError: There is no such model, Triton cannot run a plan, or a folder of its name is there that must not be
            replaced.
    """
    require_mode(served.bundle, served.mode)
    if served.mode not in held_modes(served.bundle.manifest, served.precision):
        raise MgtsError(
            f"The bundle {served.bundle.root} has no models of mode {served.mode} in {served.precision}. Write them "
            "with mgts-trt convert, or name another --precision."
        )
    specs = bundle_specs(served.bundle, served.mode)
    names = list(specs) if models is None else list(dict.fromkeys(models))
    if "ensemble" in names:
        raise MgtsError(NO_ENSEMBLE)
    if unknown := [name for name in names if name not in specs]:
        raise MgtsError(f"There is no model {', '.join(unknown)}; the models are {', '.join(specs)}.")
    if out.exists() and not out.is_dir():
        raise MgtsError(f"{out} is a file; name a folder with --out.")
    as_plans = plans_to_serve(served.bundle, plans)
    for name in (*names, *as_plans):
        require_replaceable(out / name, force=force)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            code = _CODE.format(mark=MARK, version=__version__, name=name)
            write_model(model_config(served, specs[name]), {"model.py": code}, out)
        for plan in as_plans.values():
            config = plan_config(plan.record, instances=served.instances, gpus=served.gpus, queue=served.queue)
            write_model(config, {PLAN_FILE: plan.files[0]}, out)
    except OSError as error:
        raise MgtsError(
            f"Cannot write {error.filename or out}: {error.strerror}. Name a folder with --out that you may write to."
        ) from error
    return [*names, *as_plans]


def model_config(served: Served, spec: ModelSpec) -> ModelConfig:
    """What Triton is told of a model.

    Args:
        served: What is served.
        spec: The model. Only `person_search` has batches and a warm-up: `embed` describes a picture's boxes together.
    """
    searches = spec.name == "person_search"
    return ModelConfig(
        name=spec.name,
        runs='backend: "python"',
        inputs=list(map(_tensor, spec.inputs)),
        outputs=list(map(_tensor, spec.outputs)),
        parameters={"model": spec.name, **served.parameters},
        batch=served.batch if searches and served.batch > 1 else 0,
        ragged=True,
        instances=served.instances,
        gpus=served.gpus,
        queue=served.queue,
        warm_up={"image": (*served.bundle.manifest.canvas, 3)} if searches else {},
    )


_CODE = '''"""{mark} {version}: {name} for Triton's Python backend; its Python needs mgts-trt and pillow."""

import triton_python_backend_utils

from mgts_trt.triton.served_model import ServedModel


class TritonPythonModel(ServedModel):
    triton = triton_python_backend_utils
'''


def _tensor(spec: TensorSpec) -> Tensor:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return Tensor(spec.name, kind, spec.shape, optional=spec.optional)
