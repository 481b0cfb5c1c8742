"""`mgts-trt bundle`: look after a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out

Folder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
bundle_app = typer.Typer(no_args_is_help=True, help="Look after a bundle: seal.")


@bundle_app.command()
def seal(bundle: Folder) -> None:
    """Write the manifest's digest anew: after a change by hand, or to a bundle that has none yet."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.manifest import seal_manifest

    manifest = seal_manifest(bundle)
    Bundle.open(bundle)
    out.print(f"Sealed {bundle}: preset {manifest.preset}, {len(manifest.files)} files")
