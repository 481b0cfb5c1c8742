"""Part `plans`, the first question: do TensorRT's plans, `portable` and `current`, load and run on this GPU?

Each is tried in a process of its own: one that brings its process down is an answer, too.
"""

import subprocess
import sys
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.environment import ROOT
from benchmarks.gpu.job import NO_PLUGINS, Job
from benchmarks.gpu.report import PlanTrial
from mgts_trt.bundle.onnx_domains import calls_operators
from mgts_trt.choices import Lowering
from mgts_trt.errors import BackendError
from mgts_trt.plans.batch import plan_batch
from mgts_trt.plans.installed import require_flavour
from mgts_trt.plans.support import CURRENT, PORTABLE

_SECONDS = 1800
"""After which a trial is given up; a build of a large network takes minutes."""


class Candidate(NamedTuple):
    """A plan to try."""

    model: str
    precision: str
    target: str
    lowering: Lowering
    batch: int = 1

    def __str__(self) -> str:
        pictures = f", up to {self.batch} pictures" if self.batch > 1 else ""
        return f"{self.model} in {self.precision}, {self.target}, operators as {self.lowering}{pictures}"


def candidates(job: Job, targets: Iterable[str]) -> list[Candidate]:
    """Every plan the pipeline could run."""
    return [
        Candidate(model, precision, target, lowering, batch)
        for model in job.models
        for precision in job.files(model)
        for target in targets
        for lowering in (job.lowerings if calls_operators(job.bundle.model_path(model, precision)) else ("graph",))
        for batch in job.batches
        if plan_batch(job.bundle.model(model), batch) == batch
    ]


def plan(job: Job) -> list[str]:
    """What would be tried."""
    if not job.on_gpu:
        return ["nothing: plans run on a GPU only"]
    lines = [f"{each}: build if missing, load, run" for each in candidates(job, (PORTABLE, CURRENT))]
    why = job.report.left_out.get(NO_PLUGINS)
    return [*lines, f"{NO_PLUGINS}: left out: {why}"] if why else lines


def run(job: Job) -> None:
    """Fill `report.plans`.

    Raises:
        BackendError: There is no TensorRT, or no GPU is asked for.
    """
    if not job.on_gpu:
        raise BackendError("Plans run on a GPU only; the backend onnxruntime uses none.")
    flavour = require_flavour()
    for each in candidates(job, [target for target in (PORTABLE, CURRENT) if target in flavour.targets]):
        job.say(str(each))
        job.report.plans.append(_try(job, str(flavour), each))


def _try(job: Job, flavour: str, each: Candidate) -> PlanTrial:
    arguments = [str(job.bundle.root.resolve()), *map(str, each), str(job.people)]
    command = [sys.executable, "-m", "benchmarks.gpu.parts.try_plan", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return _failed(each, flavour, f"it was given up after {_SECONDS} s", "")
    return read_answer(done.returncode, done.stdout, done.stderr, flavour, each)


def read_answer(code: int, output: str, errors: str, flavour: str, each: Candidate) -> PlanTrial:
    """What a trial's process said: the last line of its output is a `PlanTrial`, or it came down before."""
    lines = [line for line in output.splitlines() if line.strip()]
    try:
        return PlanTrial.model_validate_json(lines[-1])
    except (IndexError, ValueError):
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return _failed(each, flavour, f"its process {how}", errors)


def _failed(each: Candidate, flavour: str, message: str, errors: str) -> PlanTrial:
    log = errors.strip().splitlines()[-20:]
    return PlanTrial(**each._asdict(), flavour=flavour, reached="nothing", message=message, log=log)
