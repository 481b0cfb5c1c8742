"""Whose crops train re-ID and whose are held out, of several sets, written down."""

from pathlib import Path

from training.data.datasets.market1501 import Market1501
from training.data.datasets.reid_mix import ReidMix
from training.data.datasets.splits import MARKET_HELD_OUT, Joined, market1501_split
from training.data.scene import Scenes

CROP_SETS = ("cuhk03", "cuhk01", "iitd_col780", "prid", "grid", "viper")
"""Sets of crops in `reid_mix`; Market-1501 has a folder of its own."""
NEVER_TRAINED = "viper"
"""The set that is held out whole, to see how the networks do where they never were. It has the most people of the
small sets (632; GRID 250), so that its rank-1 is good to ±2 %, its viewpoints differ by 90° and more, and OSNet tells
that its labels are sound."""
EVERY = 6
"""Of each other set, every sixth identity is held out: numbers 0, 6, 12 … by sorted name."""
MARKET_EXTRA = "market_train_extra"
"""More crops of Market-1501's people, in `reid_mix`; they are trained on where the person is."""

SAME_PEOPLE = ("cuhk01_0231", "cuhk03_0451", "cuhk03_0623")
"""Under a second pid, people who are held out, as `python -m training leaks` found by equal crops: not trained on."""


def crop_set_people(folder: str | Path, name: str) -> tuple[list[str], list[str]]:
    """The (train, held-out) pids of one of `CROP_SETS`; `SAME_PEOPLE` are in neither.

    Raises:
        DataError: see `ReidMix`.
    """
    names = ReidMix(folder, name).names
    held_out = names if name == NEVER_TRAINED else names[::EVERY]
    return sorted({*names} - {*held_out, *SAME_PEOPLE}), held_out


def crop_set_held_out(folder: str | Path, name: str) -> Scenes:
    """The held-out crops of one of `CROP_SETS`; `folder` holds the table.

    Raises:
        DataError: see `ReidMix`.
    """
    return ReidMix(folder, name, crop_set_people(folder, name)[1])


def crops_train(root: str | Path, *more: Scenes) -> Scenes:
    """All crops to train on: Market-1501's training people, then those of the other sets.

    Args:
        root: The folder that holds `market1501` and `reid_mix`.
        more: Scenes with the identities of `market1501_split`'s first part, which come with it.

    Raises:
        DataError: see `Market1501` and `ReidMix`.
    """
    market, mix = Path(root) / "market1501", Path(root) / "reid_mix"
    trained = [f"market_{name}" for name in Market1501(market).names[:-MARKET_HELD_OUT]]
    people = Joined(market1501_split(market)[0], ReidMix(mix, MARKET_EXTRA, trained), *more, same_people=True)
    sets = [ReidMix(mix, name, crop_set_people(mix, name)[0]) for name in CROP_SETS if name != NEVER_TRAINED]
    return Joined(people, *sets)
