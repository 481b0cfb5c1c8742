"""Part `pipeline`: a picture in, people out, upload included, in each mode and form, against the baselines."""

import itertools
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.forms import Form, compare_lowerings, forms
from benchmarks.gpu.parts.networks import ONNXRUNTIME, ORT_CUDA, torch_sides
from benchmarks.gpu.report import Group, Latency, SideResult
from benchmarks.gpu.timing import Call, in_turns, words
from mgts_trt.choices import Mode
from mgts_trt.errors import MgtsError
from mgts_trt.plans.batch import plan_batch
from mgts_trt.plans.build_commands import build_command
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.pipeline import PersonSearch

DEPTHS = (1, 2, 3, 4)
"""Pictures in flight whose throughput is measured."""


def plan(job: Job) -> list[str]:
    """What would be measured, one line a group."""
    lines = []
    for mode in job.modes:
        sides = [str(form) for form in forms(job)] if job.on_gpu else [ONNXRUNTIME]
        sides += [f"baseline {name}" for name in job.baselines]
        depths = f"throughput at {', '.join(map(str, DEPTHS))} in flight over {job.counts.stream} pictures"
        depths += f"; {', '.join(map(str, job.batches))} pictures at once" if max(job.batches) > 1 else ""
        lines += [
            f"mode {mode} in {precision}: {'; '.join(sides)}: {job.counts}; {depths}"
            for precision in job.precisions_of(mode)
        ]
    return lines


def run(job: Job) -> None:
    """Fill `report.pipeline`."""
    for mode in job.modes:
        in_torch = torch_sides(job, f"mode {mode}", partial(_torch_call, job, mode))
        for precision in job.precisions_of(mode):
            job.say(f"mode {mode} in {precision}")
            with ExitStack() as open_things:
                job.report.pipeline.append(_group(job, mode, precision, in_torch, open_things))


def open_pipeline(job: Job, mode: Mode, precision: str, form: Form | None = None, batch: int = 1) -> PersonSearch:
    """Our pipeline; `form` chooses among TensorRT's.

    Raises:
        MgtsError: It cannot run here, or its plans do not take so many pictures at once.
    """
    options: dict[str, Any] = {} if form is None else {"ops": form.lowering, "graphs": form.graphs}
    search = PersonSearch(job.bundle, mode=mode, backend=job.backend, precision=precision, batch_size=batch, **options)
    for model, plan in search.runtime.engines.items():
        most = plan.record.identity.batch
        if plan_batch(job.bundle.model(model), batch) > most:
            search.close()
            raise MgtsError(
                f"The plan of {model} takes {most} at once. Build another: "
                f"{build_command(job.bundle.root, model, form and form.lowering, batch)}"
            )
    return search


def _group(job: Job, mode: Mode, precision: str, in_torch: Mapping[str, Call], open_things: ExitStack) -> Group:
    where = f"mode {mode} in {precision}"
    ours: dict[str, PersonSearch] = {}
    measured: dict[str, Form] = {}
    for form in forms(job) if job.on_gpu else [None]:
        label = ONNXRUNTIME if form is None else str(form)
        with job.leave_out(f"{label}, {where}"):
            ours[label] = open_things.enter_context(open_pipeline(job, mode, precision, form))
            if form is not None:
                measured[label] = form
    sides = {label: _call(job, search) for label, search in ours.items()} | dict(in_torch)
    if "ort-cuda" in job.baselines:
        with job.leave_out(f"{ORT_CUDA}, {where}"):
            from benchmarks.gpu.sides.ort_cuda import OrtCudaSession

            sessions = {model: OrtCudaSession(job.bundle, model, precision) for model in MODELS_OF_MODE[mode]}
            sides[ORT_CUDA] = _call(job, PersonSearch(job.bundle, mode=mode, sessions=sessions))
    samples = in_turns(sides, job.counts, on_turn=lambda label: job.say(f"{where}: {label}"))
    results = [each.result(label) for label, each in samples.items()]
    compare_lowerings(results, samples, measured, job.counts.repeats)
    # In turns too: every side at one depth, then every side at the next.
    for depth in DEPTHS:
        for result in results:
            if result.label in ours and result.error is None:
                job.say(f"{where}: {result.label}, {depth} in flight")
                try:
                    result.images_per_second[depth] = throughput(ours[result.label], job, depth)
                except Exception as error:  # of any library: it is a result, too
                    result.notes.append(f"{depth} in flight: {words(error)}")
    for result in results:
        form = measured.get(result.label)
        # Launched one by one, more pictures cost as much less as the host is the slower part: nobody runs it so.
        if result.label in ours and result.error is None and (form is None or form.graphs):
            _at_once(job, mode, precision, form, result)
    for result in results:
        refusals = ours[result.label].runtime.graph_refusals if result.label in ours else {}
        result.notes += [f"{work}: not captured: {why}" for work, why in refusals.items()]
    return Group(what=mode, precision=precision, people=job.people, sides=results)


def _at_once(job: Job, mode: Mode, precision: str, form: Form | None, result: SideResult) -> None:
    """Fill `result.at_once`: batches of every size in turns."""
    where = f"mode {mode} in {precision}: {result.label}"
    with ExitStack() as open_things:
        sides: dict[str, Call] = {}
        for batch in job.batches if max(job.batches) > 1 else ():
            with job.leave_out(f"{where}, {batch} at once"):
                search = open_things.enter_context(open_pipeline(job, mode, precision, form, batch))
                sides[str(batch)] = partial(_batch_call, job, search, batch)
        samples = in_turns(sides, job.counts, on_turn=lambda label: job.say(f"{where}, {label} at once"))
    for label, each in samples.items():
        if each.error is not None:
            result.notes.append(f"{label} at once: {each.error}")
        else:
            result.at_once[int(label)] = Latency.of([milliseconds / int(label) for milliseconds in each.total])


def _batch_call(job: Job, search: PersonSearch, batch: int) -> None:
    search.batch([job.image] * batch, top=job.people)


def throughput(search: PersonSearch, job: Job, depth: int) -> float:
    """Pictures a second with `depth` in flight, after as many to fill the pipeline."""
    results = search.stream(itertools.repeat(job.image, job.counts.stream + depth), depth=depth, top=job.people)
    for _ in range(depth):
        next(results)
    start = time.perf_counter()
    count = sum(1 for _ in results)
    return count / (time.perf_counter() - start)


def _call(job: Job, search: PersonSearch) -> Call:
    return lambda: search(job.image, top=job.people).timings


def _torch_call(job: Job, mode: Mode, form: str, device: str) -> Call:
    from benchmarks.gpu.sides.torch_networks import TorchNetworks
    from benchmarks.gpu.sides.torch_pipeline import TorchPipeline

    networks = TorchNetworks(job.torch_preset, MODELS_OF_MODE[mode], form, device)
    search = TorchPipeline(networks, job.bundle.manifest, mode, job.people)

    def call() -> None:
        search(job.image)

    return call
