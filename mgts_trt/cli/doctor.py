"""`mgts-trt doctor`: what this machine has, what is missing, and what mends it."""

import typer

from mgts_trt.cli.console import out
from mgts_trt.cli.options import BundleArgument


def doctor(bundle: BundleArgument = None) -> None:
    """Say what this machine has, what is missing, and the command that mends it; exit with 1 on a problem."""
    from mgts_trt.cli.finding import report
    from mgts_trt.cli.findings import examine

    findings = examine(bundle)
    out.print(report(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
