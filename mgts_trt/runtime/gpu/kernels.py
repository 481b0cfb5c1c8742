"""What each CUDA kernel of `engines/kernels/` takes: one function a kernel, which makes its `Launch`.

A launch is a description and needs no GPU; a device layer compiles its source and runs it on a stream. Arrays are
contiguous, on the device, and of the shapes and types given here. Pictures and canvases are uint8 RGB.
"""

from collections.abc import Sequence

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Argument, Launch, Pointer
from mgts_trt.stages.letterbox import Letterbox
from mgts_trt.stages.nv12 import YuvMatrix

MAX_INSTANCES = 1023
"""Rows the mask net may have: `separate_people` holds a counter for each in shared memory."""

_THREADS = 256
_TILE_W, _TILE_H = 32, 8


def letterbox(
    geometry: Letterbox, image: Pointer, pitch: int, canvas: Pointer, *, pad: tuple[int, int, int] = (0, 0, 0)
) -> Launch:
    """Draw a picture on the canvas: `Letterbox.apply`, bit for bit.

    Args:
        geometry: Sizes of picture and canvas.
        image: uint8 [H, W, 3].
        pitch: Bytes from one row of the picture to the next, at least 3 · W.
        canvas: uint8 [Hc, Wc, 3], written whole.
        pad: RGB beside the picture.
    """
    height, width = geometry.canvas_hw
    if pitch < 3 * geometry.image_hw[1]:
        raise BackendError(
            f"The rows of a picture {geometry.image_hw[1]} pixels wide cannot be {pitch} bytes apart; pass the bytes "
            f"from one row to the next, at least {3 * geometry.image_hw[1]}."
        )
    arguments: tuple[Argument, ...] = (
        image, *_ints(pitch, *geometry.image_hw, *geometry.content_hw, *pad), canvas, *_ints(height, width)
    )  # fmt: skip
    return Launch("letterbox", "letterbox.cu", _tiles(height, width), (_TILE_W, _TILE_H, 1), 0, arguments)


def nv12_to_rgb(
    image_hw: tuple[int, int],
    luma: Pointer,
    luma_pitch: int,
    chroma: Pointer,
    chroma_pitch: int,
    matrix: YuvMatrix,
    turns: int,
    rgb: Pointer,
) -> Launch:
    """A decoder's frame in RGB: `stages.nv12.nv12_to_rgb`, bit for bit.

    Args:
        image_hw: Height and width of the frame as it was decoded.
        luma: uint8 [H, W].
        luma_pitch: Bytes from one row of it to the next, at least W.
        chroma: uint8 [⌈H / 2⌉, ⌈W / 2⌉, 2].
        chroma_pitch: Bytes from one row of it to the next, at least 2 · ⌈W / 2⌉.
        matrix: Of the video.
        turns: Quarters the frame is turned by, clockwise: 0, 1, 2 or 3.
        rgb: uint8 [H, W, 3], or [W, H, 3] for 1 and 3; written whole.
    """
    height, width = image_hw
    if luma_pitch < width or chroma_pitch < width + width % 2 or turns not in range(4):
        raise BackendError(
            f"A frame of NV12 that is {width} pixels wide has rows of at least {width} and {width + width % 2} bytes, "
            f"and is turned by 0 to 3 quarters; these are {luma_pitch}, {chroma_pitch} and {turns}."
        )
    arguments: tuple[Argument, ...] = (
        luma, *_ints(luma_pitch), chroma, *_ints(chroma_pitch, height, width, turns, *matrix), rgb
    )  # fmt: skip
    tiles = _tiles(*((width, height) if turns % 2 else (height, width)))
    return Launch("nv12_to_rgb", "nv12_to_rgb.cu", tiles, (_TILE_W, _TILE_H, 1), 0, arguments)


def select_people(
    geometry: Letterbox,
    boxes: Pointer,
    scores: Pointer,
    rows: int,
    *,
    threshold: float,
    most: int,
    people: Pointer,
    people_scores: Pointer,
    count: Pointer,
) -> Launch:
    """Keep the detector's rows that are people, in order, their boxes clipped to the picture.

    Args:
        geometry: Sizes of picture and canvas.
        boxes: The detector's canvas boxes, float32 [rows, 4].
        scores: The detector's scores, float32 [rows].
        rows: K of the detector.
        threshold: Least score of a person; rows of score 0 are padding whatever it is.
        most: Places for people.
        people: Canvas boxes, float32 [most, 4]; zero beyond the count.
        people_scores: float32 [most]; zero beyond the count.
        count: int32 [2]: people written, and people found (more than `most`, it may be).
    """
    arguments: tuple[Argument, ...] = (
        boxes, scores, np.int32(rows), np.float32(threshold), *_ints(*geometry.content_hw, most),
        people, people_scores, count,
    )  # fmt: skip
    return Launch("select_people", "select_people.cu", (1, 1, 1), (_THREADS, 1, 1), 0, arguments)


def paint_instances(
    canvas_hw: tuple[int, int],
    boxes: Pointer,
    scores: Pointer,
    masks: Pointer,
    rows: int,
    mask_size: int,
    *,
    score_threshold: float,
    mask_threshold: float,
    instance_map: Pointer,
) -> Launch:
    """Paint the mask net's rows: `stages.paint_instances`, up to float32's rounding of a mask at its threshold.

    Args:
        canvas_hw: Height and width of the canvas.
        boxes: Canvas boxes, float32 [rows, 4].
        scores: float32 [rows].
        masks: float32 [rows, mask_size, mask_size].
        rows: K of the mask net, at most `MAX_INSTANCES`.
        mask_size: m of the mask net.
        score_threshold: Instances below it are left out.
        mask_threshold: Probability from which a pixel is the person.
        instance_map: uint16 [Hc, Wc], written whole.

    Raises:
        BackendError: Too many rows.
    """
    _check_instances(rows)
    arguments: tuple[Argument, ...] = (
        boxes, scores, masks, *_ints(rows, mask_size), np.float32(score_threshold), np.float32(mask_threshold),
        instance_map, *_ints(*canvas_hw),
    )  # fmt: skip
    return Launch("paint_instances", "paint_instances.cu", _tiles(*canvas_hw), (_TILE_W, _TILE_H, 1), 0, arguments)


def separate_people(
    geometry: Letterbox,
    people: Pointer,
    count: Pointer,
    most: int,
    *,
    gamma: float,
    instance_map: Pointer | None,
    rows: int = 0,
    crops: Pointer,
    tights: Pointer,
    instances: Pointer,
) -> Launch:
    """Expand each person's box and take the majority vote in it (Algorithm 1): `expand_boxes`, `dominant_instance`.

    Args:
        geometry: Sizes of picture and canvas.
        people: Tight canvas boxes, float32 [most, 4].
        count: int32 [1] or more; the first says how many people there are.
        most: Places for people; outputs beyond the count are left as they are.
        gamma: Expand ratio, at least 1.
        instance_map: uint16 [Hc, Wc], or None in the modes `box` and `none`.
        rows: K of the mask net, at most `MAX_INSTANCES`: ids in the map are not above it.
        crops: Expanded canvas boxes, int32 [most, 4].
        tights: Tight canvas boxes in whole pixels, int32 [most, 4].
        instances: int32 [most]; 0 where the tight box is the mask.

    Raises:
        BackendError: Too many rows.
    """
    _check_instances(rows)
    arguments: tuple[Argument, ...] = (
        people, count, instance_map or Pointer(0), *_ints(geometry.canvas_hw[1], *geometry.content_hw),
        np.float64(gamma), np.int32(rows), crops, tights, instances,
    )  # fmt: skip
    return Launch("separate_people", "person_patches.cu", (most, 1, 1), (_THREADS, 1, 1), 0, arguments)


def person_patches(
    geometry: Letterbox,
    canvas: Pointer,
    count: Pointer,
    *,
    first: int,
    batch: int,
    instance_map: Pointer | None,
    crops: Pointer,
    tights: Pointer,
    instances: Pointer,
    patch_hw: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: str = "float32",
    foreground: Pointer | None,
    original: Pointer,
) -> Launch:
    """Crop, mask, resize and normalise: `stages.person_patches` up to rounding, after `separate_people`.

    Args:
        geometry: Sizes of picture and canvas.
        canvas: uint8 [Hc, Wc, 3].
        count: int32 [1] or more; the first says how many people there are.
        first: The person whose patches come first.
        batch: Patches to make; those beyond the count are left as they are.
        instance_map: uint16 [Hc, Wc], or None in the modes `box` and `none`.
        crops: See `separate_people`; of all people.
        tights: See `separate_people`.
        instances: See `separate_people`.
        patch_hw: Height and width of a patch.
        mean: Per channel, on the scale of 0..255.
        std: Per channel, on the scale of 0..255.
        dtype: Of the patches, `float32` or `float16`.
        foreground: [batch, 3, H, W], or None in mode `none`, which makes none.
        original: [batch, 3, H, W].

    Raises:
        BackendError: Another type.
    """
    height, width = patch_hw
    grid = (*_tiles(height, width)[:2], batch)
    arguments: tuple[Argument, ...] = (
        canvas, np.int32(geometry.canvas_hw[1]), instance_map or Pointer(0), count, np.int32(first), crops, tights,
        instances, *(np.float32(v) for v in (*mean, *std)), foreground or Pointer(0), original, *_ints(height, width),
    )  # fmt: skip
    kernel = f"person_patches_{_suffix(dtype)}"
    return Launch(kernel, "person_patches.cu", grid, (_TILE_W, _TILE_H, 1), 0, arguments)


def _tiles(height: int, width: int) -> tuple[int, int, int]:
    return -(-width // _TILE_W), -(-height // _TILE_H), 1


def _ints(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def _suffix(dtype: str) -> str:
    suffixes = {"float32": "f32", "float16": "f16"}
    if dtype not in suffixes:
        raise BackendError(f"There is no kernel for {dtype}; there are {' and '.join(suffixes)}.")
    return suffixes[dtype]


def _check_instances(rows: int) -> None:
    if rows > MAX_INSTANCES:
        raise BackendError(
            f"The mask net has {rows} places for instances, but the kernels hold at most {MAX_INSTANCES}. "
            "Export it with fewer proposals."
        )
