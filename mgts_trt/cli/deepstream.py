"""`mgts-trt deepstream`: what NVIDIA DeepStream needs to run a bundle's networks."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, out, warn
from mgts_trt.cli.options import BundleArgument, PrecisionOption


def deepstream(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    bundle: BundleArgument = None,
    precision: PrecisionOption = "fp32",
    streams: Annotated[int, typer.Option(help="Streams that are searched together.", min=1, max=64)] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Write networks, configurations and a parser for NVIDIA DeepStream."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.deepstream.deepstream_folder import write_folder

    opened = Bundle.open(find_bundle(bundle))
    describes = write_folder(opened, out_folder, precision=precision, streams=streams, force=force)
    out.print(f"Wrote the detector{' and idnet, mode none,' if describes else ''} for DeepStream to {out_folder}.")
    if not describes:
        warn("the bundle has no idnet, which describes people without masks: there will be boxes alone.")
    elif opened.manifest.gamma != 1:
        warn(
            f"the bundle has people's boxes expanded by {opened.manifest.gamma:g}, and nvinfer describes them as they "
            "are: their embeddings are not those of mgts-trt."
        )
    out.print(f'Where DeepStream is: cd {out_folder} && make PLUGINS="$(mgts-trt plugins path)"')
    out.print("Then: MGTS_TRT_REGISTER_PLUGINS=1 deepstream-app -c app.txt")
    notice_untrained(opened.manifest)
