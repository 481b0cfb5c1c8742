"""Copies are found however they were altered, and others are not."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt._typing import Image
from mgts_trt.pictures.image import read_image, write_image
from tests.helpers.training_scenes import drawn
from training.data.datasets.splits import market1501_split
from training.data.fingerprints import copies, fingerprints, likeness
from training.data.sources import files_of


def encoded(image: Image) -> Image:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def cropped(image: Image) -> Image:
    height, width = image.shape[:2]
    return image[round(0.03 * height) : round(0.98 * height), round(0.02 * width) : round(0.97 * width)]


ALTERED: dict[str, Callable[[Image], Image]] = {
    "encoded anew": encoded,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "three times the size": lambda image: cv2.resize(image, None, fx=3, fy=3),
    "stretched": lambda image: cv2.resize(image, None, fx=1.4, fy=1),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=10),
    "grey": lambda image: np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3, axis=-1),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 1),
    "mirrored": lambda image: image[:, ::-1],
    "cropped a little": cropped,
    "all of it": lambda image: encoded(cv2.resize(cropped(image)[:, ::-1], None, fx=0.8, fy=0.8)),
}


def save(folder: Path, pictures: dict[str, Image]) -> list[Path]:
    folder.mkdir()
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", np.ascontiguousarray(picture))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("how", ALTERED)
def test_a_copy_is_found_among_others(how: str, tmp_path: Path) -> None:
    originals = {f"{seed}": drawn(seed) for seed in range(8)}
    ones = fingerprints(save(tmp_path / "originals", originals))
    others = fingerprints(
        save(tmp_path / "others", {"a": drawn(20), "copy": ALTERED[how](originals["3"]), "z": drawn(21)})
    )
    (found,) = copies(ones, others)
    assert (found.one.name, found.other.name) == ("3.png", "copy.png")
    assert found.mirrored == (how in ("mirrored", "all of it"))


def test_others_are_no_copies(tmp_path: Path) -> None:
    taken = fingerprints(save(tmp_path / "pictures", {f"{seed}": drawn(seed) for seed in range(40)}))
    assert copies(taken, taken) == [], "nor is a file one of itself"
    alike = [likeness(taken.thumbnails[one], taken.thumbnails[other]) for one, other in combinations(range(12), 2)]
    assert max(alike) < 0.6


def test_pictures_of_nothing_are_no_copies(tmp_path: Path) -> None:
    flat = {f"{grey}": np.full((50, 60, 3), grey, np.uint8) for grey in (0, 128, 255)}
    taken = fingerprints(save(tmp_path / "flat", flat))
    assert copies(taken, taken) == []


def test_a_bad_file_costs_itself(tmp_path: Path) -> None:
    files = save(tmp_path / "pictures", {"a": drawn(1), "b": drawn(1)})
    (tmp_path / "pictures/broken.jpg").write_bytes(b"no picture")
    steps: list[None] = []
    taken = fingerprints(
        [*files, tmp_path / "pictures/broken.jpg", tmp_path / "gone.jpg"], on_step=lambda: steps.append(None)
    )
    assert [path.name for path in taken.paths] == ["a.png", "b.png"]
    assert {path.name for path in taken.unread} == {"broken.jpg", "gone.jpg"}
    assert len(steps) == 4
    assert len(copies(taken, taken)) == 2
    nothing = fingerprints([])
    assert copies(taken, nothing) == copies(nothing, taken) == []


@pytest.mark.slow
def test_on_real_pictures(shared_data: Path, tmp_path: Path) -> None:
    """Of crops and photos nine of ten copies are found however they were altered, and no other."""
    crops = sorted(files_of(market1501_split(shared_data / "market1501")[1]))[::80]
    originals = [*crops, *sorted((shared_data / "inria_person/images").iterdir())[::20]]
    ones = fingerprints(originals)
    assert copies(ones, ones) == []
    for how, alter in ALTERED.items():
        altered = save(tmp_path / how, {f"{row:03d}": alter(read_image(path)) for row, path in enumerate(originals)})
        found = copies(ones, fingerprints(altered))
        assert all(originals.index(copy.one) == int(copy.other.stem) for copy in found), how
        assert len(found) >= 0.9 * len(originals), how
