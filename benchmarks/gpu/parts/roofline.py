"""Part `roofline`: what each network must cost at least, and how far above that its engines are."""

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts import ceilings, networks, roofline_rows


def plan(job: Job) -> list[str]:
    """What would be measured."""
    ends = "products (fp16, fp32, int8) and a copy on the GPU" if job.on_gpu else "a product and a copy by NumPy"
    files = [f"{model} {precision}" for model in job.models for precision in job.files(model)]
    return [f"ceilings: {ends}", f"FLOPs and bytes, counted: {', '.join(files)}; the part `networks` is run if need be"]


def run(job: Job) -> None:
    """Fill `report.ceilings` and `report.roofline`."""
    job.report.ceilings = ceilings.measure(job)
    if not job.report.networks:
        networks.run(job)
    costs = {}
    for model in job.models:
        for precision in job.files(model):
            job.say(f"counting {model} in {precision}")
            costs[model, precision] = roofline_rows.count(job.bundle.model_path(model, precision), {"N": job.people})
            if unknown := costs[model, precision].unknown:
                job.report.left_out[f"bytes of {unknown} layers of {model} in {precision}"] = "shapes not inferred"
    job.report.roofline = roofline_rows.rows(job.report.networks, costs, job.report.ceilings)
