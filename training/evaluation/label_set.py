"""`python -m training label-set`: held-out people as a labelled set, to measure bundles on without PyTorch."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer

from mgts_trt.cli.console import out as console
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.labelled import LABELS, LabelledPicture, LabelledSet, Labels
from mgts_trt.pictures.image import write_image
from training.options import Evaluated, load_held_out, steps

if TYPE_CHECKING:  # imported where it is needed, so that --help does not wait for PyTorch
    from training.data.scene import Scene, Scenes

_SCENES = 100
"""Of `composed`, where nothing is said."""


class Held(StrEnum):
    """Datasets with a held-out part."""

    COMPOSED = "composed"
    PENN_FUDAN = "penn_fudan"
    MARKET1501 = "market1501"


def label_set(
    root: Annotated[Path, typer.Option(help="The dataset's folder; for composed, the one that holds the others.")],
    out: Annotated[Path, typer.Option(help="Folder to write the set to.")],
    data: Annotated[Held, typer.Option(help="Dataset, of which the held-out part is taken.")] = Held.COMPOSED,
    scenes: Annotated[
        int | None, typer.Option(min=1, help="How many scenes; by default 100 composed ones, or all there are.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write held-out people as a labelled set for `mgts-trt parity --labelled` and `python -m export --labelled`."""
    held_out = load_held_out(Evaluated(data.value), root, length=scenes or _SCENES)
    count = min(scenes or len(held_out), len(held_out))
    with steps() as begin:
        written = write_label_set(
            held_out, out, count=count, source=f"{data.value}, held-out", on_step=begin("writing", count)
        )
    people = sum(len(picture.boxes) for picture in written.pictures)
    console.print(f"{people} people in {count} pictures written to {out}")
    if not written.searchable:
        console.print("Nobody is in two of them, so retrieval cannot be measured on this set.")


def write_label_set(
    scenes: "Scenes", out: Path, *, count: int, source: str, on_step: Callable[[], None] = lambda: None
) -> LabelledSet:
    """Write the first `count` scenes; pictures and masks as PNG, so that every machine reads the same pixels.

    Args:
        scenes: Where the people are from.
        out: Folder to write to, made if need be.
        count: At most as many as there are.
        source: For `labels.json`.
        on_step: Called after each scene.

    Raises:
        MgtsError: There is a set in `out` already, or it cannot be written.
    """
    if (out / LABELS).exists():
        raise MgtsError(f"There is a labelled set in {out} already. Remove it, or name another --out.")
    try:
        for folder in ("pictures", "masks"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MgtsError(f"Cannot write to {out}: {error.strerror}. Name another --out.") from error
    pictures = []
    for number in range(count):
        pictures.append(_write_scene(scenes[number], out, f"{number:05d}.png"))
        on_step()
    labels = Labels(format=1, source=source, pictures=tuple(pictures))
    labels.write(out)
    return LabelledSet(out, labels)


def _write_scene(scene: "Scene", out: Path, name: str) -> LabelledPicture:
    write_image(out / "pictures" / name, scene.image)
    if scene.instances is not None:
        kind = np.uint8 if len(scene.boxes) < 256 else np.uint16
        (out / "masks" / name).write_bytes(cv2.imencode(".png", scene.instances.astype(kind))[1].tobytes())
    return LabelledPicture(
        file=f"pictures/{name}",
        boxes=tuple(tuple(box) for box in scene.boxes.tolist()),
        identities=tuple(identity if identity >= 0 else None for identity in scene.identities.tolist()),
        camera=scene.camera if scene.camera >= 0 else None,
        masks=f"masks/{name}" if scene.instances is not None else None,
    )
