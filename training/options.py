"""Options that several commands share, and what they stand for."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mgts_trt.cli.console import out as console
from mgts_trt.cli.console import progress
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for PyTorch
    from training.data.scene import Scenes

Begin: TypeAlias = Callable[[str, int], Callable[[], None]]
"""Begins a piece of work, given its description and its number of steps; what it returns marks a step as done."""

_PEOPLE, _FURTHER, _NOBODY, _COMPOSED = 3, 1, 2, 2
"""Of eight scenes of `real`, which are two batches: photos of people labelled by hand, further photos of people (where
there are none, by hand, too), photos of nobody, and composed scenes. Photos teach what people look like and what does
not; composed scenes people in front of one another, of whom every one is labelled. By judgement; no other was tried."""

_JOINT_COMPOSED, _JOINT_PEOPLE, _JOINT_NOBODY = 6, 1, 1
"""Of eight scenes of `joint`: composed scenes, which alone have identities, and photos with and without people, so that
what the detector knew of photos is not forgotten. By judgement; no other was tried."""

_ROUNDS = 3
"""How often `masks` shows a photo."""

HELD_OUT_SEED = 2018
"""Of the composed scenes a bundle is evaluated on: any number but a training's, here the paper's year."""


class Data(StrEnum):
    """Datasets; of one with a held-out part, the training part."""

    COMPOSED = "composed"
    REAL = "real"
    MASKS = "masks"
    JOINT = "joint"
    PENN_FUDAN = "penn_fudan"
    MARKET1501 = "market1501"
    MARKET1501_COMPOSED = "market1501+composed"
    MARKET1501_REID_MIX = "market1501+reid_mix"
    MARKET1501_REID_MIX_COMPOSED = "market1501+reid_mix+composed"
    CUHK_SYSU = "cuhk_sysu"
    PRW = "prw"


class Evaluated(StrEnum):
    """What a bundle is evaluated on: published test sets, and held-out parts."""

    COMPOSED = "composed"
    PENN_FUDAN = "penn_fudan"
    MARKET1501 = "market1501"
    REID_MIX = "reid_mix"
    COCO_PERSON = "coco_person"
    COCO_MINI = "coco_mini"
    CCP_PERSON_MASKS = "ccp_person_masks"
    INRIA_PERSON = "inria_person"
    TUD_MOTIONPAIRS = "tud_motionpairs"
    MOT15_STATIC = "mot15_static"
    TUD_CAMPUS = "tud_campus"
    NEGATIVES = "negatives"
    CUHK_SYSU = "cuhk_sysu"
    PRW = "prw"


COMPOSES = (Data.COMPOSED, Data.JOINT, Data.MARKET1501_COMPOSED, Data.MARKET1501_REID_MIX_COMPOSED)
"""Those of which the caller says how many scenes are composed."""

WITH_MASKS = (Evaluated.COMPOSED, Evaluated.PENN_FUDAN, Evaluated.COCO_MINI, Evaluated.CCP_PERSON_MASKS)
"""Those whose scenes have masks; of `coco_mini` most."""


def load_scenes(
    data: Data, root: Path, *, length: int, seed: int, also: Sequence[Path] = (), hard: Path | None = None
) -> "Scenes":
    """The scenes of a dataset to train on.

    Args:
        data: Which one. `composed` pastes the training people of Market-1501 and Penn-Fudan onto street pictures;
            `market1501+composed` are the crops of Market-1501 and then such scenes, of the same identities;
            `market1501+reid_mix` has the crops of other sets besides, see `crops_train`. `real` is `Mixed`: photos of
            `training_photos` with and without people, and as many composed scenes. `masks` has each photo of
            `masked_train` three times and as many scenes, `CUT_OFF`, composed of their people on Penn-Fudan's, street
            pictures and `negatives`: half and half. `joint` is `Mixed` as well: mostly composed
            scenes, `CROWDED`, whose people have identities, and photos of `training_photos`.
        root: The dataset's folder; for what is composed, and for `real`, the folder that holds `market1501`,
            `penn_fudan`, the street pictures, as `training.data.backgrounds` names them, and the sets of real scenes.
        length: Scenes of `composed`.
        seed: Of `composed`.
        also: Of `real`, further folders of photos, each with a `boxes.json`.
        hard: Of `real`, a list of `python -m training mine`: these photos of nobody are shown more often.

    Raises:
        DataError: The dataset is not there, or not as published; `hard` is no list, or one of other data.
        MgtsError: `also` or `hard` of another dataset than `real`.
    """
    from training.data.datasets.splits import (
        Joined,
        Subset,
        market1501_split,
        penn_fudan_split,
        real_set_split,
        training_photos,
    )

    for option, given in (("--also", also), ("--hard", hard)):
        if given and data is not Data.REAL:
            raise MgtsError(f"{option} belongs to --data real, but --data {data.value} is asked for. Leave one away.")
    if data is Data.JOINT:
        from training.data.datasets.mix import Mixed

        shown = training_photos(root)
        composed = _composed(root, length, seed, crowded=True)
        return Mixed((composed, _JOINT_COMPOSED), (shown.people, _JOINT_PEOPLE), (shown.nobody, _JOINT_NOBODY))
    if data is Data.REAL:
        from training.data.datasets.hard import more_often, read_mistakes
        from training.data.datasets.mix import Mixed

        shown = training_photos(root, also)
        composed = load_scenes(Data.COMPOSED, root, length=sum(map(len, shown)), seed=seed)
        nobody = more_often(shown.nobody, read_mistakes(hard), root) if hard else shown.nobody
        by_hand = _PEOPLE + (0 if len(shown.further) else _FURTHER)
        return Mixed((shown.people, by_hand), (shown.further, _FURTHER), (nobody, _NOBODY), (composed, _COMPOSED))
    if data is Data.MASKS:
        from training.data.backgrounds import street_scenes
        from training.data.composer import CUT_OFF, Composer
        from training.data.datasets.masked import masked_train

        photos, empty = masked_train(root), real_set_split(root / "negatives")[0]
        backgrounds = Joined(street_scenes(root), penn_fudan_split(root / "penn_fudan")[0], empty)
        with console.status("looking for people with usable masks"):
            composed = Composer(photos, backgrounds, length=_ROUNDS * len(photos), seed=seed, composition=CUT_OFF)
        return Joined(Subset(photos, [*range(len(photos))] * _ROUNDS), composed)
    if data is Data.MARKET1501_REID_MIX:
        from training.data.datasets.reid_splits import crops_train

        return crops_train(root)
    if data in COMPOSES:
        composed = _composed(root, length, seed)
        if data is Data.MARKET1501_REID_MIX_COMPOSED:
            from training.data.datasets.reid_splits import crops_train

            return crops_train(root, composed)
        if data is Data.COMPOSED:
            return composed
        return Joined(market1501_split(root / "market1501")[0], composed, same_people=True)
    if data is Data.PENN_FUDAN:
        return penn_fudan_split(root)[0]
    if data is Data.MARKET1501:
        return market1501_split(root)[0]
    if data is Data.CUHK_SYSU:
        from training.data.datasets.cuhk_sysu import cuhk_sysu_train

        return cuhk_sysu_train(root)
    from training.data.datasets.prw import prw_train

    return prw_train(root)


def _composed(root: Path, length: int, seed: int, *, crowded: bool = False) -> "Scenes":
    """Training people in streets: those of Market-1501 with its identities, then Penn-Fudan's, who have none."""
    from training.data.backgrounds import street_scenes
    from training.data.composer import CROWDED, Composer
    from training.data.datasets.splits import Joined, market1501_split, penn_fudan_split

    penn_fudan, market1501 = penn_fudan_split(root / "penn_fudan")[0], market1501_split(root / "market1501")[0]
    backgrounds, composition = Joined(street_scenes(root), penn_fudan), CROWDED if crowded else None
    with console.status("looking for people with usable masks"):
        people = Joined(market1501, penn_fudan)
        return Composer(people, backgrounds, length=length, seed=seed, composition=composition)


def load_held_out(data: Evaluated, root: Path, *, length: int) -> "Scenes":
    """The part of a dataset that `load_scenes` never gives; of composed scenes, with held-out people in them.

    Args:
        data: Not a search benchmark.
        root: As for `load_scenes`.
        length: Scenes of `composed`.

    Raises:
        DataError: The dataset is not there, or not as published.
    """
    from training.data.datasets.splits import (
        REAL_SETS,
        Joined,
        Subset,
        market1501_split,
        penn_fudan_split,
        real_set_split,
    )

    if data.value in REAL_SETS:
        return real_set_split(root)[1]
    if data is Evaluated.PENN_FUDAN:
        return penn_fudan_split(root)[1]
    if data is Evaluated.CCP_PERSON_MASKS:
        from training.data.datasets.masked import person_masks_split

        return person_masks_split(root)[1]
    if data is Evaluated.MARKET1501:
        return market1501_split(root)[1]
    if data is Evaluated.TUD_CAMPUS:
        from training.data.datasets.tud_campus import tud_campus

        frames = tud_campus(root)  # of one camera, across which nobody can be found again; none trains
        return Subset(frames, range(len(frames)), identities=())
    if data is Evaluated.REID_MIX:
        return Joined(*load_crops(data, root).values())
    from training.data.backgrounds import shop_scenes
    from training.data.composer import Composer

    with console.status("looking for people with usable masks"):
        return Composer(market1501_split(root / "market1501")[1], shop_scenes(root), length=length, seed=HELD_OUT_SEED)


def load_crops(data: Evaluated, root: Path) -> "dict[str, Scenes]":
    """The held-out crops of re-ID sets, by the set's name; none where `data` has scenes instead.

    Raises:
        DataError: The dataset is not there, or not as published.
    """
    from training.data.datasets.reid_splits import CROP_SETS, crop_set_held_out

    if data is Evaluated.MARKET1501:
        return {data.value: load_held_out(data, root, length=1)}
    if data is Evaluated.REID_MIX:
        return {name: crop_set_held_out(root, name) for name in CROP_SETS}
    return {}


def parse_numbers(text: str, *, least: float) -> tuple[float, ...]:
    """Numbers with commas between them, in ascending order, each once.

    Raises:
        MgtsError: A part is no finite number of at least `least`.
    """
    try:
        numbers = sorted({float(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not all(least <= number < math.inf for number in numbers):
        raise MgtsError(f"Numbers of at least {least:g} with commas between them expected, got {text!r}.")
    return tuple(numbers)


def pick_device(name: str) -> str:
    """PyTorch's name of a device; for `auto`, the GPU if there is one.

    Raises:
        MgtsError: PyTorch cannot use it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # PyTorch built without CUDA asserts
        raise MgtsError(
            f"PyTorch cannot use the device {name!r}: {str(error).splitlines()[0]}. Take --device auto or cpu."
        ) from error
    return name


@contextmanager
def steps() -> Iterator[Begin]:
    """A progress bar for pieces of work that follow one another."""
    with progress() as bar:
        task = bar.add_task("", total=None)

        def begin(what: str, total: int) -> Callable[[], None]:
            bar.reset(task, total=total, description=what)
            return lambda: bar.advance(task)

        yield begin
