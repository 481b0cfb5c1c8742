"""`python -m training average`: one network whose weights are the mean of several runs'.

Runs that went on from one another, or began at the same weights, end in one basin, and the middle of it serves better
than its rim: a "soup" of Wortsman et al. (ICML 2022). It costs nothing when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out as console
from mgts_trt.errors import MgtsError


def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two or more of one network and preset.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write.")],
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Average the weights of runs that went on from one another; often better on all sets than each of them."""
    from training.checkpoint import average_checkpoints

    if len(checkpoints) < 2:
        raise MgtsError(f"{len(checkpoints)} checkpoint was given; name two or more to average.")
    model, preset = average_checkpoints(checkpoints, out)
    console.print(f"{out}: {model} of preset {preset}, the mean of {len(checkpoints)}")
