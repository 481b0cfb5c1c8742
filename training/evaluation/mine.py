"""`python -m training mine`: where a detector finds people in training pictures that show nobody."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mgts_trt.cli.console import out as console
from mgts_trt.errors import ImageError, MgtsError
from training.options import Data, pick_device, steps
from training.preset import Preset, load_preset

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for PyTorch
    from training.data.scene import Scene
    from training.models import FasterRCNN


def mine(
    detector: Annotated[Path, typer.Option(help="Checkpoint of the detector.")],
    root: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    out: Annotated[Path, typer.Option(help="CSV file for the hard pictures.")],
    data: Annotated[Data, typer.Option(help="Dataset; only real has pictures of nobody.")] = Data.REAL,
    also: Annotated[
        list[Path] | None, typer.Option(help="A further folder of photos with a boxes.json; may be repeated.")
    ] = None,
    preset: Annotated[str, typer.Option(help="The detector's preset.")] = "edge",
    score: Annotated[float, typer.Option(min=0, max=1, help="From which score something found counts.")] = 0.3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the training pictures of nobody in which a detector finds people, for --hard of its further training."""
    from training.checkpoint import load_checkpoint
    from training.data.datasets.hard import Mistakes, picture_name, write_mistakes
    from training.data.datasets.splits import training_photos
    from training.models import FasterRCNN, create

    if data is not Data.REAL:
        raise MgtsError(f"Only --data real has pictures that show nobody, but --data {data.value} is asked for.")
    sizes = load_preset(preset)
    network = cast(FasterRCNN, create("detector", sizes))
    load_checkpoint(detector, network, model="detector", preset=sizes.name)
    network.to(pick_device(device)).eval()
    photos, found, unread = training_photos(root, also or ()).nobody, [], 0
    with steps() as begin:
        on_step = begin("looking for people where nobody is", len(photos))
        for index in range(len(photos)):
            try:
                scores = false_people(network, photos[index], sizes, score)
            except ImageError:
                unread += 1
            else:
                if scores:
                    found.append(Mistakes(picture_name(photos, index, root), len(scores), scores[0]))
            on_step()
    write_mistakes(out, found)
    people = sum(row.people for row in found)
    console.print(f"{out}: {people} people in {len(found)} of {len(photos)} pictures that show nobody, {unread} unread")


def false_people(network: "FasterRCNN", scene: "Scene", preset: Preset, least: float) -> list[float]:
    """Scores of whomever a detector finds in a picture that shows nobody, but for what is ignored there.

    Args:
        network: The detector.
        scene: Without people.
        preset: The detector's.
        least: Score from which something found counts.

    Returns:
        Scores, the greatest first.
    """
    import torch

    from training.losses.detection import NEGATIVE, assign
    from training.tasks.canvas import draw_scene

    device = next(network.parameters()).device
    canvas, truth = draw_scene(scene, preset, None)
    boxes, scores = network(torch.from_numpy(canvas).to(device))
    wrong = assign(boxes, truth.to(device), positive=0.5, negative=0.5).labels == NEGATIVE
    return sorted((value for value in scores[wrong].tolist() if value >= least), reverse=True)
