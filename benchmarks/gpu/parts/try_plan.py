"""One plan, in a process of its own: build it if it is missing, load it, run it once, and print a `PlanTrial` as JSON.

python -m benchmarks.gpu.parts.try_plan BUNDLE MODEL PRECISION TARGET LOWERING BATCH PEOPLE
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu.report import PlanTrial
from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import PICTURES
from mgts_trt.choices import Lowering
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.builder.build import build_plan
from mgts_trt.plans.installed import require_flavour
from mgts_trt.plans.lowering import LOWERINGS
from mgts_trt.plans.plan import Plan


def try_plan(
    bundle: Bundle, model: str, precision: str, target: str, lowering: Lowering, batch: int, people: int
) -> PlanTrial:
    """See how far a plan comes on the first GPU; whatever stops it is the answer, not an error."""
    flavour = require_flavour()
    trial = PlanTrial(
        model=model, precision=precision, target=target, lowering=lowering, batch=batch, flavour=str(flavour),
        reached="nothing",
    )  # fmt: skip

    def timed(step: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = function()
        trial.milliseconds[step] = (time.perf_counter() - start) * 1e3
        return result

    options: dict[str, Any] = {"ops": lowering, "batch": batch, "flavour": flavour}
    try:
        built = timed("build", lambda: build_plan(bundle, model, precision, target, **options))
        trial.reached = "built"
        with flavour.collect() as messages:
            try:
                _load_and_run(trial, built, flavour, _inputs(built, people), timed)
            finally:
                # Exactly what TensorRT says, which is what one looks up.
                trial.log = [f"[{each.level}] {each.text}" for each in messages if each.level != "info"]
    except Exception as error:  # of any library
        trial.message = str(error).strip() or type(error).__name__
    return trial


def _load_and_run(
    trial: PlanTrial, built: Any, flavour: Any, inputs: dict[str, Array], timed: Callable[[str, Callable[[], Any]], Any]
) -> None:
    from benchmarks.gpu.sides.engine import EngineRun
    from mgts_trt.runtime.cuda.nvidia import CudaDevice
    from mgts_trt.runtime.session.tensorrt import load_plan

    gpus = find_gpus()
    device = CudaDevice(0)
    gpu = gpus[0] if gpus else None
    engine = timed("load", lambda: load_plan(built, flavour, device, gpu))
    trial.reached = "loaded"
    ready = timed("context", lambda: EngineRun(engine, inputs))
    trial.reached = "context"
    timed("first run", ready.launch)
    trial.reached = "ran"
    timed("second run", ready.launch)
    ready.close()
    engine.close()


def _inputs(plan: Plan, people: int) -> dict[str, Array]:
    sizes = {"N": people, PICTURES: plan.record.identity.batch}
    return {name: np.zeros(spec.sized(sizes), spec.dtype) for name, spec in plan.record.inputs.items()}


if __name__ == "__main__":
    root, model, precision, target, lowering, batch, people = sys.argv[1:]
    form = next(each for each in LOWERINGS if each == lowering)
    print(try_plan(Bundle.open(root), model, precision, target, form, int(batch), int(people)).model_dump_json())
