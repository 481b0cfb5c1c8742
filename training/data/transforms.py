"""Scenes made from scenes: onto the canvas, cut, mirrored, recoloured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Floats, Image
from mgts_trt.stages import Letterbox
from training.data.files import DataError, keep_instances
from training.data.scene import Scene

# Greatest changes of `jitter_colour` at strength 1, in the logarithm where not said otherwise: a gain of exp(±0.45) is
# 0.64 … 1.57. By eye: people stay recognisable, as they must for re-ID; what each is worth was not measured.
_GAIN = 0.45
_TINT = 0.08
"""Of each of the three colours by itself: the white balance of cameras differs, but hardly more."""
_GAMMA = 0.3
_CONTRAST = 0.35
_SATURATION = (-0.6, 0.4)
"""Least and greatest: pale pictures are more common than garish ones."""

_BLUR = (0.4, 1.2)
"""Standard deviation of a camera's blur, pixels: from hardly to plainly visible, by eye."""

_NOISE = (1, 6)
"""Standard deviation of a camera's noise, grey levels of 0 … 255: from a sunny day to dusk, by eye."""

_JPEG = (50, 95)
"""Quality of JPEG, the second excluded: from a surveillance camera's to a photograph's (OpenCV writes 95)."""

_MOSAIC_CENTRE = (0.35, 0.65)
"""Where the four pictures of a mosaic meet, in shares of the canvas's sides: none becomes a sliver. By eye."""


def to_canvas(scene: Scene, canvas_hw: tuple[int, int], pad: tuple[int, int, int]) -> tuple[Scene, Letterbox]:
    """Letterbox a scene as deployment does: the picture by `Letterbox.apply`, the boxes with it.

    Args:
        scene: Any scene.
        canvas_hw: Height and width of the canvas.
        pad: RGB of the canvas beside the picture, 0..255.

    Returns:
        The scene on the canvas (`image` [Hc, Wc, 3], canvas boxes, `instances` [Hc, Wc] by nearest neighbour, 0
        beside the picture), and the letterbox, whose `content_hw` `person_patches` asks for.
    """
    letterbox = Letterbox(_hw(scene), canvas_hw)
    instances = None
    if scene.instances is not None:
        height, width = letterbox.content_hw
        instances = np.zeros(canvas_hw, np.uint16)
        # Half-pixel centres, as the picture's own resizing has.
        instances[:height, :width] = cv2.resize(scene.instances, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    canvas = letterbox.apply(scene.image, pad)
    boxes, ignored, others = (letterbox.to_canvas(part) for part in (scene.boxes, scene.ignored, scene.others))
    return replace(scene, image=canvas, boxes=boxes, instances=instances, ignored=ignored, others=others), letterbox


def flip(scene: Scene) -> Scene:
    """The scene in a mirror: left is right."""
    boxes, ignored, others = scene.boxes.copy(), scene.ignored.copy(), scene.others.copy()
    for mirrored in (boxes, ignored, others):
        mirrored[:, [0, 2]] = scene.image.shape[1] - mirrored[:, [2, 0]]
    instances = None if scene.instances is None else np.ascontiguousarray(scene.instances[:, ::-1])
    image = np.ascontiguousarray(scene.image[:, ::-1])
    return replace(scene, image=image, boxes=boxes, instances=instances, ignored=ignored, others=others)


def crop(scene: Scene, window: tuple[int, int, int, int], min_visible: float = 0.3) -> Scene:
    """Cut a window out of a scene.

    Boxes are cut to the window. A person, or another thing, of whose box less than `min_visible` is left is no longer
    labelled; the rest keep their order.

    Args:
        scene: Any scene.
        window: x1, y1, x2, y2 in whole pixels of the picture.
        min_visible: Least share of a box's area that must lie in the window, 0 … 1. By default as little as a
            `Composition` labels.

    Raises:
        DataError: a window that is empty or leaves the picture.
    """
    x1, y1, x2, y2 = window
    height, width = _hw(scene)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise DataError(
            f"The window {window} does not lie in the {width}x{height} picture {scene.name}: x1, y1, x2, y2 with "
            "x1 < x2 and y1 < y2 are expected. Cut it to the picture."
        )
    boxes, ignored, others = (_cut(part, window) for part in (scene.boxes, scene.ignored, scene.others))
    kept = np.flatnonzero(_visible(boxes, scene.boxes, min_visible))
    instances = None
    if scene.instances is not None:
        instances = keep_instances(scene.instances[y1:y2, x1:x2], kept)
    return replace(
        scene,
        image=np.ascontiguousarray(scene.image[y1:y2, x1:x2]),
        boxes=boxes[kept],
        identities=scene.identities[kept],
        instances=instances,
        ignored=ignored[(ignored[:, 2:] > ignored[:, :2]).all(1)],
        others=others[_visible(others, scene.others, min_visible)],
    )


def _cut(boxes: Floats, window: tuple[int, int, int, int]) -> Floats:
    """Boxes [N, 4] cut to a window, in its own pixels; one outside has no area."""
    x1, y1, x2, y2 = window
    cut: Floats = np.clip(boxes - np.array((x1, y1, x1, y1), np.float32), 0, np.tile((x2 - x1, y2 - y1), 2))
    return cut.astype(np.float32)


def _visible(cut: Floats, boxes: Floats, share: float) -> NDArray[np.bool_]:
    """Of which boxes [N, 4] at least this share is left of their area, and anything at all, [N]."""
    area, left = (np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (boxes, cut))
    visible: NDArray[np.bool_] = (left > 0) & (left >= share * area)
    return visible


def enlarge_border(scene: Scene, image_hw: tuple[int, int], pad: tuple[int, int, int]) -> Scene:
    """Put the picture at the top left of a larger one, as the letterbox does: people look smaller on the canvas.

    Raises:
        DataError: `image_hw` is smaller than the picture.
    """
    height, width = _hw(scene)
    if image_hw[0] < height or image_hw[1] < width:
        raise DataError(
            f"The {width}x{height} picture {scene.name} does not fit into {image_hw[1]}x{image_hw[0]}. Crop it instead."
        )
    image = np.empty((*image_hw, 3), np.uint8)
    image[:] = pad
    image[:height, :width] = scene.image
    instances = None
    if scene.instances is not None:
        instances = np.zeros(image_hw, np.uint16)
        instances[:height, :width] = scene.instances
    return replace(scene, image=image, instances=instances)


def jitter_colour(image: Image, generator: np.random.Generator, strength: float) -> Image:
    """Change brightness, contrast, gamma, tint and saturation at random.

    Args:
        image: uint8 [H, W, 3], RGB.
        generator: The only source of chance.
        strength: 0 leaves the picture alone; 1 is strong (gains of 0.6 … 1.6).

    Returns:
        uint8 [H, W, 3]; `image` itself at strength 0.
    """
    if strength <= 0:
        return image
    gain = math.exp(generator.uniform(-_GAIN, _GAIN) * strength)
    tint = np.exp(generator.uniform(-_TINT, _TINT, 3) * strength)
    gamma = math.exp(generator.uniform(-_GAMMA, _GAMMA) * strength)
    contrast = math.exp(generator.uniform(-_CONTRAST, _CONTRAST) * strength)
    saturation = math.exp(generator.uniform(*_SATURATION) * strength)
    levels = (np.arange(256, dtype=np.float64) / 255) ** gamma
    curves = ((levels[:, None] - 0.5) * contrast + 0.5) * gain * tint
    table = np.rint(np.clip(curves, 0, 1) * 255).astype(np.uint8)
    recoloured = cv2.LUT(image, table[None])
    grey = cv2.cvtColor(cv2.cvtColor(recoloured, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(recoloured, saturation, grey, 1 - saturation, 0), np.uint8)


def through_camera(image: Image, generator: np.random.Generator, share: float) -> Image:
    """Blur, noise and JPEG's artefacts over the whole picture, each with the probability `share`.

    Args:
        image: uint8 [H, W, 3], RGB.
        generator: The only source of chance.
        share: 0 … 1; at 0 nothing is drawn.

    Returns:
        uint8 [H, W, 3].
    """
    if share <= 0:
        return image
    if generator.random() < share:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), generator.uniform(*_BLUR)), np.uint8)
    if generator.random() < share:
        noise = generator.standard_normal(image.shape[:2], np.float32) * generator.uniform(*_NOISE)
        image = np.clip(image + noise[..., None], 0, 255).astype(np.uint8)
    if generator.random() < share:
        quality = int(generator.integers(*_JPEG))
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(image)


@dataclass(frozen=True)
class Augmentation:
    """What training does to a scene before the letterbox, so that people of all sizes and colours occur.

    The defaults are by eye but for `flip`. What detector and mask net train with is said by the preset.

    Attributes:
        flip: Probability of the mirror image; by default a half, for neither side is preferred.
        zoom: Range of the scale jitter, log-uniform. Above 1, a window of 1/zoom of each side is cut out around one of
            the people; below 1, the picture gets a border at the right and below.
        colour: Strength of `jitter_colour`, drawn from 0 to this.
        camera: Share of the scenes that get each of the faults of `through_camera`.
        min_visible: See `crop`.
    """

    flip: float = 0.5
    zoom: tuple[float, float] = (0.5, 2.0)
    colour: float = 0.6
    camera: float = 0.0
    min_visible: float = 0.3

    def __post_init__(self) -> None:
        low, high = self.zoom
        if not 0 < low <= high:
            raise DataError(f"The zoom {self.zoom} is no range: 0 < low ≤ high is expected, such as (0.5, 2.0).")
        for name in ("flip", "colour", "camera", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}, but a number from 0 to 1 is expected.")

    def __call__(self, scene: Scene, generator: np.random.Generator, pad: tuple[int, int, int]) -> Scene:
        """One augmented scene; `generator` is the only source of chance, `pad` the RGB of a border."""
        if generator.random() < self.flip:
            scene = flip(scene)
        zoom = math.exp(generator.uniform(math.log(self.zoom[0]), math.log(self.zoom[1])))
        if zoom > 1:
            height, width = _hw(scene)
            window = _window(scene, (max(round(height / zoom), 1), max(round(width / zoom), 1)), generator)
            scene = crop(scene, window, self.min_visible)
        elif zoom < 1:
            height, width = _hw(scene)
            scene = enlarge_border(scene, (math.ceil(height / zoom), math.ceil(width / zoom)), pad)
        image = jitter_colour(scene.image, generator, generator.uniform(0, self.colour))
        return replace(scene, image=through_camera(image, generator, self.camera))


def _window(scene: Scene, hw: tuple[int, int], generator: np.random.Generator) -> tuple[int, int, int, int]:
    """A window of this height and width that holds the centre of one of the people, or lies anywhere without people."""
    picture, size = np.array(_hw(scene)[::-1]), np.array(hw[::-1])
    low, high = np.zeros(2, np.int64), picture - size
    if len(scene.boxes):
        box = scene.boxes[generator.integers(len(scene.boxes))]
        centre = ((box[:2] + box[2:]) / 2).astype(np.int64)
        low, high = np.clip(centre - size + 1, low, high), np.clip(centre, low, high)
    x1, y1 = generator.integers(low, high + 1)
    return int(x1), int(y1), int(x1 + size[0]), int(y1 + size[1])


def mosaic_places(canvas_hw: tuple[int, int], generator: np.random.Generator) -> list[tuple[slice, slice]]:
    """Where the four pictures of a mosaic lie: rows and columns of a canvas, which they fill."""
    y, x = (round(side * generator.uniform(*_MOSAIC_CENTRE)) for side in canvas_hw)
    return [
        (rows, columns)
        for rows in (slice(0, y), slice(y, canvas_hw[0]))
        for columns in (slice(0, x), slice(x, canvas_hw[1]))
    ]


def part_for(scene: Scene, place: tuple[slice, slice], generator: np.random.Generator) -> Scene:
    """As much of a scene as fills a place of a mosaic: a window of its proportions, around one of the people."""
    (height, width), (rows, columns) = _hw(scene), (part.stop - part.start for part in place)
    scale = max(rows / height, columns / width)
    hw = (min(max(round(rows / scale), 1), height), min(max(round(columns / scale), 1), width))
    return crop(scene, _window(scene, hw, generator), min_visible=0)


def mosaic(
    parts: Sequence[tuple[Scene, tuple[slice, slice]]], canvas_hw: tuple[int, int], pad: tuple[int, int, int]
) -> Scene:
    """Several scenes on one canvas, each letterboxed into a place of its own (Bochkovskiy et al., YOLOv4, Sec. 3.3).

    People come out about half as large, and a picture shows more of them, in front of more.

    Args:
        parts: Scenes with their places, which do not overlap: rows and columns of the canvas.
        canvas_hw: Height and width of the canvas.
        pad: RGB where no picture is, 0..255.

    Returns:
        A scene of canvas pixels; with `instances` where every part with people has them.
    """
    image, instances = np.empty((*canvas_hw, 3), np.uint8), np.zeros(canvas_hw, np.uint16)
    image[:] = pad
    boxes, ignored, others, identities, masked = [], [], [], [], True
    for scene, place in parts:
        rows, columns = place
        drawn, _ = to_canvas(scene, (rows.stop - rows.start, columns.stop - columns.start), pad)
        image[place] = drawn.image
        if drawn.instances is not None:
            first = sum(map(len, boxes))
            instances[place] = np.where(drawn.instances > 0, drawn.instances + np.uint16(first), 0)
        masked = masked and (drawn.instances is not None or not len(drawn.boxes))
        shift = np.tile(np.array((columns.start, rows.start), np.float32), 2)
        for all_of_them, here in ((boxes, drawn.boxes), (ignored, drawn.ignored), (others, drawn.others)):
            all_of_them.append(here + shift)
        identities.append(drawn.identities)
    return Scene(
        " ".join(scene.name for scene, _ in parts),
        image,
        np.concatenate(boxes),
        np.concatenate(identities),
        instances if masked else None,
        ignored=np.concatenate(ignored),
        others=np.concatenate(others),
    )


def _hw(scene: Scene) -> tuple[int, int]:
    height, width = scene.image.shape[:2]
    return height, width
