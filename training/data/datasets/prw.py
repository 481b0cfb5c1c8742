"""PRW: the training scenes."""

from pathlib import Path

from training.data.annotated import AnnotatedScenes
from training.data.protocols import prw_images


def prw_train(folder: str | Path) -> AnnotatedScenes:
    """The training scenes of PRW (Zheng et al., CVPR 2017): `prw_images` of the training set, pictures in `frames`.

    Raises:
        DataError: a file that is missing or not as published.
    """
    root = Path(folder)
    return AnnotatedScenes(root / "frames", prw_images(root, "train"))
