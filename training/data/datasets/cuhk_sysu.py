"""CUHK-SYSU: the training scenes."""

from pathlib import Path

from training.data.annotated import AnnotatedScenes
from training.data.protocols import cuhk_sysu_images


def cuhk_sysu_train(folder: str | Path) -> AnnotatedScenes:
    """The training scenes of CUHK-SYSU (Xiao et al., CVPR 2017): 11,206 pictures with 5,532 identities.

    They are `cuhk_sysu_images` of the training set, and the pictures in `Image/SSM`.

    Raises:
        DataError: a file that is missing or not as published, or a labelled box that Images.mat does not have.
    """
    root = Path(folder)
    return AnnotatedScenes(root / "Image" / "SSM", cuhk_sysu_images(root, "train", strict=True))
