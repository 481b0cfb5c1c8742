"""`mgts-trt doctor`: what this machine has, what is missing, and what mends it."""

from pathlib import Path

import typer

from mgts_trt.cli.console import find_bundle, out
from mgts_trt.cli.options import BundleArgument
from mgts_trt.errors import MgtsError


def doctor(bundle: BundleArgument = None) -> None:
    """Say what this machine has, what is missing, and the command that mends it; exit with 1 on a problem."""
    from mgts_trt.cli.findings import examine, report

    try:
        path: Path | None = find_bundle(bundle)
    except MgtsError:
        path = None
    findings = examine(path)
    out.print(report(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
