"""Photographs whose people have masks: what the mask net learns from, and what is held out."""

from pathlib import Path

from training.data.datasets.boxes_json import boxes_json
from training.data.datasets.coco_masks import CocoMasks
from training.data.datasets.person_masks import PersonMasks
from training.data.datasets.splits import COCO_MASKS, REAL_EVERY, Joined, Subset, penn_fudan_split
from training.data.scene import Scenes

COCO, PERSON_MASKS = "coco_person", "ccp_person_masks"
"""Folders beside `COCO_MASKS`."""


def person_masks_split(folder: str | Path) -> tuple[Scenes, Scenes]:
    """The (train, held-out) pictures of `PersonMasks`: every sixth by name is held out.

    Raises:
        DataError: see `PersonMasks`.
    """
    scenes = PersonMasks(folder)
    train = [index for index in range(len(scenes)) if index % REAL_EVERY]
    return Subset(scenes, train), Subset(scenes, range(0, len(scenes), REAL_EVERY))


def masked_train(root: str | Path) -> Scenes:
    """All photographs to train on that come with masks, one set after the other; a quarter shows nobody.

    A photo that `coco_mini` or `coco_person` holds out is not among them, whichever it is in.

    Args:
        root: The folder that holds `penn_fudan`, `coco_mini`, `ccp_person_masks`, and `coco_person`.

    Raises:
        DataError: see `PennFudan`, `CocoMasks`, `PersonMasks` and `boxes_json`.
    """
    root = Path(root)
    coco = CocoMasks(root / COCO_MASKS)
    held_out = {
        Path(name).name for names in (coco.names, boxes_json(root / COCO).names) for name in names[::REAL_EVERY]
    }
    train = [index for index, name in enumerate(coco.names) if Path(name).name not in held_out]
    return Joined(
        penn_fudan_split(root / "penn_fudan")[0], Subset(coco, train), person_masks_split(root / PERSON_MASKS)[0]
    )
