import pytest

from tests.helpers.training_scenes import Streets
from training.data.datasets.splits import Joined, Subset
from training.data.files import DataError
from training.data.sources import files_of


@pytest.mark.parametrize("wrap", [lambda scenes: scenes, lambda scenes: Subset(scenes, [1]), Joined])
def test_scenes_that_do_not_say(wrap):
    with pytest.raises(DataError, match=r"Streets does not say.*files_of"):
        files_of(wrap(Streets(2)))
