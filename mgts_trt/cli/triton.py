"""`mgts-trt triton`: a model repository for NVIDIA's Triton server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, split
from mgts_trt.cli.options import BackendOption, BundleArgument, PrecisionOption, ThreadsOption
from mgts_trt.errors import MgtsError


def triton(
    out_folder: Annotated[Path, typer.Option("--out", help="The model repository; its other models stay.")],
    bundle: BundleArgument = None,
    mode: Annotated[
        Mode | None, typer.Option(help="none, net, box or joint; by default net, if the bundle has it.")
    ] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="person_search, embed; by default both, unless plans are named. Each loads the networks for itself."
        ),
    ] = None,
    plans: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDERS",
            help="Plans of TensorRT to write as they are, a network each: folders of the bundle's plans, with commas.",
        ),
    ] = None,
    bundle_at: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the bundle lies on the server; by default as here.")
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(help="Numbers of the GPUs, as 0,1; by default all that Triton finds, else the CPU.")
    ] = None,
    instances: Annotated[int, typer.Option(help="Processes of each model, on each GPU.", min=1)] = 1,
    batch: Annotated[
        int,
        typer.Option(help="Most requests searched together, on a GPU; from 2 on tensors are [1, …].", min=1),
    ] = 1,
    queue: Annotated[int, typer.Option(help="Requests that may wait; the next one is refused.", min=1)] = 64,
    max_megapixels: Annotated[int, typer.Option(help="Largest picture.", min=1, max=170)] = 50,
    force: Annotated[bool, typer.Option("--force", help="Replace models that are there.")] = False,
) -> None:
    """Write a model repository for NVIDIA's Triton server."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.runtime.modes import default_mode
    from mgts_trt.triton.repository import Served, write_repository

    opened = Bundle.open(find_bundle(bundle))
    served = Served(
        bundle=opened,
        mode=mode or default_mode(opened),
        backend=backend,
        precision=precision,
        threads=threads,
        at=bundle_at,
        gpus=_numbers(gpus),
        instances=instances,
        batch=batch,
        queue=queue,
        max_megapixels=max_megapixels,
    )
    folders = split(plans or "")
    chosen: Sequence[str] | None = split(models) if models else [] if folders else None
    names = write_repository(served, out_folder, chosen, folders, force=force)
    out.print(f"Wrote {' and '.join(names)} to {out_folder}.")
    if len(names) > len(folders):
        out.print(
            f"Mode {served.mode}. The Python of Triton's Python backend needs mgts-trt and pillow, and the bundle in "
            f"{served.parameters['bundle']}."
        )
    if folders:
        out.print(
            "Plans with plugins need their library, whose place `mgts-trt plugins path` tells: "
            "MGTS_TRT_REGISTER_PLUGINS=1 before tritonserver, and --backend-config=tensorrt,plugins=LIBRARY."
        )
    out.print(f"Then: tritonserver --model-repository={out_folder.resolve()} --rate-limit=execution_count")
    notice_untrained(opened.manifest)


def _numbers(gpus: str | None) -> tuple[int, ...]:
    parts = split(gpus) if gpus is not None else []
    if gpus is not None and (not parts or not all(part.isdecimal() for part in parts)):
        raise MgtsError(f"--gpus {gpus!r} names no GPUs; expected their numbers, as 0 or 0,1.")
    return tuple(dict.fromkeys(map(int, parts)))
