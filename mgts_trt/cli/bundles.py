"""`mgts-trt bundle`: look after a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out
from mgts_trt.cli.help import Command, Group

Folder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
bundle_app = typer.Typer(cls=Group, no_args_is_help=True, help="Look after a bundle: seal, sign, verify.")


@bundle_app.command(cls=Command)
def seal(bundle: Folder) -> None:
    """Write the manifest's digest anew: after a change by hand, or to a bundle that has none yet."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.manifest import seal_manifest

    manifest = seal_manifest(bundle)
    Bundle.open(bundle)
    out.print(f"Sealed {bundle}: preset {manifest.preset}, {len(manifest.files)} files")


@bundle_app.command(cls=Command)
def sign(
    bundle: Folder,
    key: Annotated[Path, typer.Option(help="The private key: a PEM file, Ed25519.")],
) -> None:
    """Sign a bundle and the plans it has, so that who holds the public key can tell that nothing was changed."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.signature import sign_files
    from mgts_trt.plans.plan import RECORD, plan_folders, verify_plan

    opened = Bundle.open(bundle)
    plans = plan_folders(opened)
    for folder in plans:
        verify_plan(folder)
    signature = sign_files(bundle, opened.manifest, key, [folder / RECORD for folder in plans])
    out.print(f"Signed {bundle}: {len(signature.files) - len(plans)} files, {len(plans)} plans")


@bundle_app.command(cls=Command)
def verify(
    bundle: Folder,
    key: Annotated[Path, typer.Option(help="The public key: a PEM file, Ed25519.")],
) -> None:
    """Check a bundle and the plans it has against their signature; exit with 2 where anything is not as signed."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.plans.plan import RECORD, plan_folders, verify_plan

    opened = Bundle.open(bundle, public_key=key)
    plans = plan_folders(opened)
    for folder in plans:
        verify_plan(folder)
        opened.require_signed(folder / RECORD)
    files = len(opened.manifest.files) + 1
    out.print(f"{bundle} is as it was signed with this key: {files} files, {len(plans)} plans")
