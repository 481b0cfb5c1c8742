"""The command that builds a plan, and what of it the name of a plan's folder tells."""

import re
from pathlib import Path
from typing import get_args

from mgts_trt.choices import Lowering

_BATCH = re.compile(r"batch([1-9]\d*)")
"""In the name of a plan's folder."""

_LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)


def build_command(bundle: Path, model: str | None = None, lowering: Lowering | None = None, batch: int = 1) -> str:
    """The command that builds the plans of a bundle; or those of a model, lowered so and for so many pictures."""
    of = f" --model {model}" if model else ""
    of += f" --ops {lowering}" if lowering else ""
    return f"mgts-trt build {bundle}{of}{f' --batch {batch}' if batch > 1 else ''}"


def rebuild(folder: Path, first: str = "B") -> str:
    """What to do with a plan that cannot be used: the sentence with the command, from its `first` letter on."""
    # plans/<identity> lies in the bundle. Its name tells all of this even where its sidecar cannot be read.
    model, *rest = folder.name.split(".")
    lowering: Lowering = next((each for each in _LOWERINGS if each in rest), "graph")
    return f"{first}uild it again with `{build_command(folder.parent.parent, model, lowering, folder_batch(folder))}`."


def folder_batch(folder: Path) -> int:
    """Most pictures at once of a plan, by its folder's name."""
    batches = (_BATCH.fullmatch(part) for part in folder.name.split("."))
    return next((int(batch[1]) for batch in batches if batch), 1)
