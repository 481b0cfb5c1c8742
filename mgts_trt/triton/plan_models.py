"""TensorRT plans as Triton's own `tensorrt_plan` models, a network each: Triton runs them without this package.

They are not joined by an ensemble. What lies between the networks (letterbox, who is a person, instance map, patches)
is computed by mgts-trt's kernels on the GPU, for as many people as there are, and none of it is a plan; nor is what
lies between the engines of a network that was cut at its operators. `person_search` runs them all together.
"""

from collections.abc import Sequence
from pathlib import Path

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import Dtype, TensorSpec
from mgts_trt.errors import MgtsError, PlanError
from mgts_trt.plans.build_commands import build_command
from mgts_trt.plans.plan import RECORD, Plan, PlanRecord, plan_folders, verify_plan
from mgts_trt.triton.model_config import ModelConfig, Tensor

PLAN_FILE = "model.plan"
"""What Triton's TensorRT backend looks for."""

NO_ENSEMBLE = (
    "The networks' plans cannot be joined by an ensemble of Triton: what lies between them (letterbox, who is a "
    "person, instance map, patches) is computed by mgts-trt's kernels on the GPU, for as many people as there are, and "
    "is no model. person_search runs plans and kernels together; --plans writes networks by themselves."
)

_KINDS: dict[Dtype, str] = {
    "uint8": "UINT8", "int8": "INT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "float16": "FP16",
    "float32": "FP32",
}  # fmt: skip


def plans_to_serve(bundle: Bundle, folders: Sequence[str]) -> dict[str, Plan]:
    """Plans that Triton's TensorRT backend can run, by network.

    Args:
        bundle: Holds them.
        folders: Their names in `plans/`, as `mgts-trt inspect` lists them.

    Raises:
        SignatureError: The bundle was opened with a key, and a plan is not signed.
        PlanError: There is no such plan, or it is altered.
        MgtsError: Triton cannot run one, or two are of one network.
    """
    found: dict[str, Plan] = {}
    for name in folders:
        folder = bundle.plans / Path(name).name
        if not folder.is_dir():
            there = ", ".join(each.name for each in plan_folders(bundle))
            advice = f"Name one that is there: {there}." if there else "There is none yet: mgts-trt build makes them."
            raise PlanError(f"There is no plan {folder.name} in {bundle.plans}. {advice}")
        record = verify_plan(folder)
        bundle.require_signed(folder / RECORD)
        identity = record.identity
        if identity.flavour != "tensorrt":
            raise MgtsError(
                f"{folder.name} is a plan of TensorRT-RTX, but Triton's TensorRT backend runs those of TensorRT. Build "
                "one where TensorRT is installed, or serve person_search, which runs either."
            )
        if identity.lowering == "kernel":
            operators = ", ".join(sorted({step.operator for step in record.chain.operators}))
            raise MgtsError(
                f"{folder.name} is a chain of {len(record.chain.engines)} engines with kernels of mgts-trt between "
                f"them ({operators}), which are no models that Triton could join. Build {identity.model} as one "
                f"engine: {build_command(bundle.root, identity.model, 'plugin', identity.batch)}"
            )
        if identity.model in found:
            raise MgtsError(f"{found[identity.model].folder.name} and {folder.name} are of one network; name one.")
        found[identity.model] = Plan(folder, record)
    return found


def plan_config(record: PlanRecord, *, instances: int = 1, gpus: Sequence[int] = (), queue: int = 64) -> ModelConfig:
    """What Triton is told of a plan.

    People or pictures of several requests run together where all tensors have them as first dimension.

    Args:
        record: Of the plan.
        instances: A GPU.
        gpus: Numbers of the GPUs; without any all there are.
        queue: Requests that may wait; the next one is refused.
    """
    tensors = (*record.inputs.values(), *record.outputs.values())
    firsts = {spec.shape[0] if spec.shape else 1 for spec in tensors}
    (first, *others) = firsts
    profile = None if others or not isinstance(first, str) else record.profile.get(first)
    batch = profile.max if profile is not None and profile.min == 1 else 0
    return ModelConfig(
        name=record.identity.model,
        runs='platform: "tensorrt_plan"',
        inputs=[_tensor(name, spec, batched=batch > 0) for name, spec in record.inputs.items()],
        outputs=[_tensor(name, spec, batched=batch > 0) for name, spec in record.outputs.items()],
        batch=batch,
        instances=instances,
        gpus=gpus,
        on_gpu=True,
        queue=queue,
    )


def _tensor(name: str, spec: TensorSpec, *, batched: bool) -> Tensor:
    shape = [-1 if isinstance(side, str) else side for side in spec.shape]
    return Tensor(name, _KINDS[spec.dtype], tuple(shape[batched:]))
