import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.pictures.image import read_image
from mgts_trt.stages import Patches, denormalise, dominant_instance, expand_boxes, person_patches, separate

HEIGHT, WIDTH = 20, 30
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def algorithm_1(
    box: list[float], gamma: float, image: np.ndarray, instance_map: np.ndarray | None, content_hw: tuple[int, int]
) -> tuple[tuple[int, int, int, int], list[list[bool]], list[list[tuple[int, ...]]], int]:
    """Sec. 3.3, Algorithm 1, one step after the other, pixel by pixel."""

    def whole_pixels(ratio: float) -> tuple[int, int, int, int]:
        bounds = []
        for low, high, size in ((box[0], box[2], content_hw[1]), (box[1], box[3], content_hw[0])):
            centre, half = (low + high) / 2, max(high - low, 0.0) * ratio / 2
            first = min(max(math.floor(centre - half), 0), size - 1)
            bounds.append((first, max(min(math.ceil(centre + half), size), first + 1)))
        return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]

    # 1: expand b by gamma
    x1, y1, x2, y2 = whole_pixels(gamma)
    # 2: crop the image
    patch = [[tuple(int(c) for c in image[y, x]) for x in range(x1, x2)] for y in range(y1, y2)]
    # 3: crop the instance map
    crop = [[0 if instance_map is None else int(instance_map[y, x]) for x in range(x1, x2)] for y in range(y1, y2)]
    # 4: the dominant instance by majority vote
    votes: dict[int, int] = {}
    for row in crop:
        for k in row:
            if k != 0:
                votes[k] = votes.get(k, 0) + 1
    dominant = 0
    for k in sorted(votes):
        if dominant == 0 or votes[k] > votes[dominant]:
            dominant = k
    # 5: binarise; without an instance the tight box is the mask
    if dominant:
        mask = [[k == dominant for k in row] for row in crop]
    else:
        tx1, ty1, tx2, ty2 = whole_pixels(1.0)
        mask = [[tx1 <= x < tx2 and ty1 <= y < ty2 for x in range(x1, x2)] for y in range(y1, y2)]
    # 6: cast the mask onto the image
    foreground = [
        [pixel if inside else (0, 0, 0) for pixel, inside in zip(*rows, strict=True)]
        for rows in zip(patch, mask, strict=True)
    ]
    return (x1, y1, x2, y2), mask, foreground, dominant


def assert_is_algorithm_1(
    box: list[float], gamma: float, image: np.ndarray, instance_map: np.ndarray | None, content_hw: tuple[int, int]
) -> None:
    result = separate(image, np.array(box), instance_map, gamma=gamma, content_hw=content_hw)
    expanded, mask, foreground, instance = algorithm_1(box, gamma, image, instance_map, content_hw)
    assert result.box == expanded
    assert result.instance == instance
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.foreground, foreground)
    np.testing.assert_array_equal(result.original, image[expanded[1] : expanded[3], expanded[0] : expanded[2]])
    assert result.mask.dtype == np.bool_
    assert result.foreground.dtype == np.uint8


COORDINATES = st.one_of(st.floats(-15, 45, width=32), st.integers(-15, 45).map(float))
BOXES = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES).map(list)


@settings(max_examples=150)
@given(
    BOXES,
    st.sampled_from([1.0, 1.1, 1.3, 1.5, 2.0]),
    st.sampled_from([0, 1, 2, 5]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([(HEIGHT, WIDTH), (13, WIDTH), (HEIGHT, 11), (1, 1)]),
)
def test_separate_is_algorithm_1(
    box: list[float], gamma: float, instances: int, seed: int, content_hw: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    # Few ids on few pixels, so that ties, absent instances and empty patches all come up.
    instance_map = np.zeros((HEIGHT, WIDTH), np.uint16)
    for k in range(1, instances + 1):
        y, x = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        instance_map[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = k
    assert_is_algorithm_1(box, gamma, image, instance_map, content_hw)
    assert_is_algorithm_1(box, gamma, image, None, content_hw)


@pytest.mark.parametrize(
    ("box", "gamma", "expanded"),
    [
        ([10, 10, 20, 30], 1.3, [8, 7, 22, 33]),
        ([10, 10, 20, 30], 1.0, [10, 10, 20, 30]),
        ([10.2, 10.7, 19.9, 30.1], 1.0, [10, 10, 20, 31]),
        ([0, 0, 100, 50], 1.3, [0, 0, 100, 50]),
        ([90, 40, 98, 48], 2.0, [86, 36, 100, 50]),
        ([200, 200, 220, 240], 1.3, [99, 49, 100, 50]),
        ([-50, -50, -10, -10], 1.3, [0, 0, 1, 1]),
        ([5, 5, 5, 5], 1.3, [5, 5, 6, 6]),
        ([5.5, 5.5, 5.5, 5.5], 1.3, [5, 5, 6, 6]),
        ([20, 20, 10, 10], 1.3, [15, 15, 16, 16]),
    ],
)
def test_expand(box: list[float], gamma: float, expanded: list[int]) -> None:
    boxes = expand_boxes(np.array([box, box], np.float32), gamma, (50, 100))
    assert boxes.dtype == np.int32
    np.testing.assert_array_equal(boxes, [expanded, expanded])


def test_expand_nothing() -> None:
    assert expand_boxes(np.zeros((0, 4)), 1.3, (50, 100)).shape == (0, 4)


@given(BOXES, st.floats(1, 3))
def test_expanded_box_holds_the_tight_one(box: list[float], gamma: float) -> None:
    boxes = np.array([box])
    x1, y1, x2, y2 = expand_boxes(boxes, gamma, (HEIGHT, WIDTH))[0]
    tight = expand_boxes(boxes, 1.0, (HEIGHT, WIDTH))[0]
    assert 0 <= x1 <= tight[0] < tight[2] <= x2 <= WIDTH
    assert 0 <= y1 <= tight[1] < tight[3] <= y2 <= HEIGHT


@pytest.mark.parametrize(
    ("crop", "dominant"),
    [
        ([[0, 0], [0, 0]], 0),
        ([[0, 0], [0, 7]], 7),
        ([[3, 0], [0, 7]], 3),
        ([[3, 7], [0, 7]], 7),
        ([[2, 2], [1, 1]], 1),
        ([[65535]], 65535),
        ([[]], 0),
    ],
)
def test_dominant_instance(crop: list[list[int]], dominant: int) -> None:
    assert dominant_instance(np.array(crop, np.uint16)) == dominant


def test_separate_does_not_change_the_canvas() -> None:
    canvas = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    person = separate(canvas, np.array([5, 5, 10, 10]), None, gamma=1.3, content_hw=(HEIGHT, WIDTH))
    assert not person.foreground.all()
    assert (canvas == 200).all()


@pytest.mark.parametrize("name", ["FudanPed00003", "FudanPed00012", "FudanPed00028", "FudanPed00035"])
def test_real_masks(shared_data: Path, name: str) -> None:
    folder = shared_data / "penn_fudan"
    image = read_image(folder / "images" / f"{name}.jpg")
    instance_map = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED).astype(np.uint16)
    assert instance_map.max() >= 1
    for k in range(1, int(instance_map.max()) + 1):
        ys, xs = np.nonzero(instance_map == k)
        box = [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]
        assert_is_algorithm_1(box, 1.3, image, instance_map, image.shape[:2])


def test_a_labelled_pedestrian_picks_its_own_instance(shared_data: Path) -> None:
    own = crowded = 0
    for file in sorted((shared_data / "penn_fudan" / "masks").glob("*.png"))[:60]:
        instance_map = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.uint16)
        image = np.zeros((*instance_map.shape, 3), np.uint8)
        for k in range(1, int(instance_map.max()) + 1):
            ys, xs = np.nonzero(instance_map == k)
            box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            person = separate(image, box, instance_map, gamma=1.3, content_hw=instance_map.shape)
            x1, y1, x2, y2 = person.box
            others = np.delete(np.bincount(instance_map[y1:y2, x1:x2].ravel(), minlength=k + 1), [0, k])
            if len(ys) > others.max(initial=0):
                assert person.instance == k
                assert person.mask.sum() == len(ys)
                own += 1
            else:
                crowded += 1
    assert own > 100
    assert crowded < own / 10


# Patches --------------------------------------------------------------------------------------------------------


def patches_of(canvas: np.ndarray, boxes: np.ndarray, instance_map: np.ndarray | None, hw: tuple[int, int]) -> Patches:
    return person_patches(
        canvas,
        boxes,
        instance_map,
        gamma=1.3,
        patch_hw=hw,
        mean=MEAN,
        std=STD,
        content_hw=canvas.shape[:2],
    )


def bilinear(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, borders clamped, no antialiasing, in float64."""
    h, w = crop.shape[:2]
    out = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            v0, u0 = int(v), int(u)
            v1, u1 = min(v0 + 1, h - 1), min(u0 + 1, w - 1)
            top = crop[v0, u0] * (1 - (u - u0)) + crop[v0, u1] * (u - u0)
            bottom = crop[v1, u0] * (1 - (u - u0)) + crop[v1, u1] * (u - u0)
            out[y, x] = top * (1 - (v - v0)) + bottom * (v - v0)
    return out


def test_patches_are_separated_resized_and_normalised() -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (60, 80, 3), np.uint8)
    instance_map = np.zeros((60, 80), np.uint16)
    instance_map[12:40, 22:35] = 4
    boxes = np.array([[20, 10, 36, 44], [50, 5, 51, 6], [60, 20, 79, 58]], np.float32)
    patches = patches_of(canvas, boxes, instance_map, (32, 16))
    for i, box in enumerate(boxes):
        person = separate(canvas, box, instance_map, gamma=1.3, content_hw=(60, 80))
        for crop, patch in ((person.foreground, patches.foreground[i]), (person.original, patches.original[i])):
            expected = (bilinear(crop.astype(np.float64), 32, 16) - MEAN) / STD
            np.testing.assert_allclose(patch, expected.transpose(2, 0, 1), atol=2e-3)
        assert tuple(patches.boxes[i]) == person.box
    np.testing.assert_array_equal(patches.instances, [4, 0, 0])


@pytest.mark.parametrize("n", [0, 1, 300])
def test_patch_shapes(n: int) -> None:
    corners = np.random.default_rng(0).uniform(0, 60, (n, 2))
    boxes = np.hstack([corners, corners + 20]).astype(np.float32)
    patches = patches_of(np.zeros((60, 80, 3), np.uint8), boxes, None, (16, 8))
    assert patches.foreground.shape == patches.original.shape == (n, 3, 16, 8)
    assert patches.foreground.dtype == patches.original.dtype == np.float32
    assert patches.boxes.shape == (n, 4)
    assert patches.instances.shape == (n,)
    assert patches.boxes.dtype == patches.instances.dtype == np.int32
    black = (-np.array(MEAN) / STD).reshape(3, 1, 1)
    for i in range(n):
        np.testing.assert_allclose(patches.original[i], np.broadcast_to(black, (3, 16, 8)), rtol=1e-5)


def test_denormalise_undoes_the_normalisation() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    patches = person_patches(
        canvas,
        np.array([[0, 0, 16, 32]]),
        None,
        gamma=1.0,
        patch_hw=(32, 16),
        mean=MEAN,
        std=STD,
        content_hw=(32, 16),
    )
    pictures = denormalise(patches.original, MEAN, STD)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, canvas[None])
    np.testing.assert_array_equal(denormalise(np.full((1, 3, 2, 2), 99.0), MEAN, STD), 255)
    assert denormalise(patches.original[:0], MEAN, STD).shape == (0, 32, 16, 3)
