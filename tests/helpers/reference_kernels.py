"""The kernels of `engines/kernels/` on the simulated device: the NumPy references."""

import math

import cv2
import numpy as np

from mgts_trt.stages import Letterbox, dominant_instance, expand_boxes, paint_instances
from mgts_trt.stages.align_rois import align_rois
from mgts_trt.stages.nms import nms
from mgts_trt.stages.nv12 import YuvMatrix, nv12_to_rgb
from mgts_trt.stages.ps_assemble import ps_assemble
from tests.helpers.simulated import SimulatedDevice

TYPES = ((np.float32, "f32"), (np.float16, "f16"))


def register_kernels(device: SimulatedDevice) -> None:
    """Let a device run every launch that `mgts_trt.runtime.gpu.kernels` and `mgts_trt.runtime.operators` make."""
    device.kernel("letterbox", letterbox, reads=[0], writes=[9], extents=used_by_letterbox)
    device.kernel("nv12_to_rgb", to_rgb, reads=[0, 2], writes=[13], extents=used_by_nv12_to_rgb)
    device.kernel("select_people", select_people, reads=[0, 1], writes=[7, 8, 9], extents=used_by_select_people)
    device.kernel("paint_instances", paint, reads=[0, 1, 2], writes=[7], extents=used_by_paint)
    device.kernel("separate_people", separate_people, reads=[0, 1, 2], writes=[8, 9, 10], extents=used_by_separate)
    for dtype, suffix in TYPES:
        patches, used = patches_of(dtype)
        name = f"person_patches_{suffix}"
        device.kernel(name, patches, reads=[0, 2, 3, 5, 6, 7], writes=[14, 15], extents=used)
        squeeze, used = se_head_squeeze_of(dtype)
        device.kernel(f"se_head_squeeze_{suffix}", squeeze, reads=[0, 1, 5], writes=[7, 8, 9], extents=used)
        for out, to in TYPES:
            align, used = aligning(dtype, out)
            device.kernel(f"align_rois_{suffix}_{to}", align, reads=[0, 1], writes=[9], extents=used)
        assemble, used = assembling(dtype)
        device.kernel(f"ps_assemble_{suffix}", assemble, reads=[0, 1], writes=[9], extents=used)
    device.kernel("nms_masks", nms_masks, reads=[0], writes=[3], extents=used_by_nms_masks)
    device.kernel("nms_keep", nms_keep, reads=[0], writes=[2], extents=used_by_nms_keep)
    device.kernel("se_head_embed", se_head_embed, reads=[0, 1, 5, 6], writes=[8, 9, 10], extents=used_by_se_head_embed)


def view(memory, dtype, *shape):
    """Bytes from an address on, as an array."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return memory[:count].view(dtype).reshape(shape)


def letterbox(image, pitch, height, width, content_height, content_width, red, green, blue, canvas, hc, wc):
    geometry = Letterbox((int(height), int(width)), (int(hc), int(wc)))
    assert (geometry.content_hw, pitch) == ((content_height, content_width), 3 * width)
    picture = view(image, np.uint8, height, width, 3)
    view(canvas, np.uint8, hc, wc, 3)[...] = geometry.apply(picture, (int(red), int(green), int(blue)))


def to_rgb(luma, pitch, chroma, chroma_pitch, height, width, turns, *matrix_and_rgb):
    *matrix, rgb = matrix_and_rgb
    bright = np.lib.stride_tricks.as_strided(luma, (height, width), (pitch, 1))
    halves = (-(-height // 2), -(-width // 2), 2)
    colour = np.lib.stride_tricks.as_strided(chroma, halves, (chroma_pitch, 2, 1))
    picture = nv12_to_rgb(bright, colour, YuvMatrix(*map(int, matrix)), int(turns))
    view(rgb, np.uint8, *picture.shape)[...] = picture


def used_by_nv12_to_rgb(launch):
    _, pitch, _, chroma_pitch, height, width, *_ = map(int_or_none, launch.arguments)
    rows, columns = -(-height // 2), -(-width // 2)
    luma, chroma = pitch * (height - 1) + width, chroma_pitch * (rows - 1) + 2 * columns
    return {0: luma, 2: chroma, 13: 3 * height * width}


def int_or_none(argument):
    return None if hasattr(argument, "address") else int(argument)


def select_people(boxes, scores, rows, threshold, height, width, most, people, people_scores, count):
    clipped = np.clip(view(boxes, np.float32, rows, 4), 0, np.array([width, height, width, height], np.float32))
    scores = view(scores, np.float32, rows)
    on_picture = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
    found = np.flatnonzero(on_picture & (scores >= threshold) & (scores > 0))
    kept = found[:most]
    for out, values in ((view(people, np.float32, most, 4), clipped), (view(people_scores, np.float32, most), scores)):
        out[...] = 0
        out[: len(kept)] = values[kept]
    view(count, np.int32, 2)[...] = len(kept), len(found)


def paint(boxes, scores, masks, rows, m, score_threshold, mask_threshold, instance_map, height, width):
    view(instance_map, np.uint16, height, width)[...] = paint_instances(
        view(boxes, np.float32, rows, 4),
        view(scores, np.float32, rows),
        view(masks, np.float32, rows, m, m),
        (int(height), int(width)),
        score_threshold=float(score_threshold),
        mask_threshold=float(mask_threshold),
    )


def separate_people(people, count, instance_map, canvas_width, height, width, gamma, ids, crops, tights, instances):
    n, content = int(view(count, np.int32, 1)[0]), (int(height), int(width))
    boxes = view(people, np.float32, n, 4)
    view(crops, np.int32, n, 4)[...] = expanded = expand_boxes(boxes, float(gamma), content)
    view(tights, np.int32, n, 4)[...] = expand_boxes(boxes, 1.0, content)
    out = view(instances, np.int32, n)
    out[...] = 0
    if instance_map is not None:
        whole = view(instance_map, np.uint16, height, canvas_width)
        assert whole.max() <= ids
        for i, (x1, y1, x2, y2) in enumerate(expanded):
            out[i] = dominant_instance(whole[y1:y2, x1:x2])


def used_by_letterbox(launch):
    pitch, height, hc, wc = (int(launch.arguments[i]) for i in (1, 2, 10, 11))
    return {0: pitch * height, 9: hc * wc * 3}


def used_by_select_people(launch):
    rows, most = int(launch.arguments[2]), int(launch.arguments[6])
    return {0: rows * 16, 1: rows * 4, 7: most * 16, 8: most * 4, 9: 8}


def used_by_paint(launch):
    rows, m, height, width = (int(launch.arguments[i]) for i in (3, 4, 8, 9))
    return {0: rows * 16, 1: rows * 4, 2: rows * m * m * 4, 7: height * width * 2}


def used_by_separate(launch):
    most, (canvas_width, height) = launch.grid[0], (int(launch.arguments[i]) for i in (3, 4))
    return {0: most * 16, 1: 4, 2: canvas_width * height * 2, 8: most * 16, 9: most * 16, 10: most * 4}


def patches_of(dtype):
    """Patches of a type, and the bytes that a launch uses of the buffers it writes."""

    def person_patches(canvas, canvas_width, instance_map, count, first, crops, tights, instances, *rest):
        mean, std = np.array(rest[:3], np.float32).reshape(3, 1, 1), np.array(rest[3:6], np.float32).reshape(3, 1, 1)
        foreground, original, height, width = rest[6:]
        pixels = canvas.reshape(-1, canvas_width, 3)
        n = int(view(count, np.int32, 1)[0])
        batch = original.size // (3 * height * width * np.dtype(dtype).itemsize)
        outs = [None if out is None else view(out, dtype, batch, 3, height, width) for out in (foreground, original)]
        boxes, inner = view(crops, np.int32, n, 4), view(tights, np.int32, n, 4)
        ids = view(instances, np.int32, n)
        for i in range(first, min(first + batch, n)):
            x1, y1, x2, y2 = boxes[i]
            seen = pixels[y1:y2, x1:x2]
            mask = np.zeros(seen.shape[:2], np.uint8)
            if ids[i]:
                mask[...] = instance_map.view(np.uint16).reshape(-1, canvas_width)[y1:y2, x1:x2] == ids[i]
            else:
                tx1, ty1, tx2, ty2 = inner[i]
                mask[ty1 - y1 : ty2 - y1, tx1 - x1 : tx2 - x1] = 1
            for out, crop in zip(outs, (cv2.copyTo(seen, mask), seen), strict=True):
                if out is not None:
                    resized = cv2.resize(crop.astype(np.float32), (int(width), int(height)))
                    out[i - first] = (resized.transpose(2, 0, 1) - mean) / std

    def used(launch):
        patches = nbytes((launch.grid[2], 3, *(int(size) for size in launch.arguments[16:18])), dtype)
        return {3: 4, 14: patches, 15: patches}

    return person_patches, used


def se_head_squeeze_of(dtype):
    """The first launch of `SeHead`; what passes to the second goes through the scratch memory."""

    def se_head_squeeze(f, o, people, channels, area, squeeze, width, pooled, squeezed, counters):
        maps = [view(each, dtype, people, channels, area).mean(axis=2, dtype=np.float32) for each in (f, o)]
        view(pooled, np.float32, people, 2 * channels)[...] = both = np.concatenate(maps, axis=1)
        view(squeezed, np.float32, people, width)[...] = both @ view(squeeze, np.float32, width, 2 * channels).T

    def used(launch):
        people, channels, area, width = (int(launch.arguments[i]) for i in (2, 3, 4, 6))
        maps = nbytes((people, channels, area), dtype)
        groups, chunks, _ = launch.grid
        scratch = {7: people * 2 * channels * 4, 8: groups * chunks * 4 * width * 4, 9: groups * 4}
        return {0: maps, 1: maps, 5: width * 2 * channels * 4} | scratch

    return se_head_squeeze, used


def se_head_embed(pooled, squeezed, people, channels, width, excite, fc, dimensions, products, counters, embedding):
    both, hidden = view(pooled, np.float32, people, 2 * channels), view(squeezed, np.float32, people, width)
    logits = np.maximum(hidden, 0) @ view(excite, np.float32, 2 * channels, width).T
    out = (both / (1 + np.exp(-logits))) @ view(fc, np.float32, dimensions, 2 * channels).T
    norm = np.linalg.norm(out, axis=1, keepdims=True)
    view(embedding, np.float32, people, dimensions)[...] = out / np.maximum(norm, 1e-12)


def used_by_se_head_embed(launch):
    people, channels, width, dimensions = (int(launch.arguments[i]) for i in (2, 3, 4, 7))
    groups, chunks, _ = launch.grid
    pooled, products = people * 2 * channels * 4, groups * chunks * 4 * 4
    return {
        0: pooled, 1: products * width, 5: 2 * channels * width * 4, 6: dimensions * 2 * channels * 4,
        8: products * dimensions, 9: groups * 4, 10: people * dimensions * 4,
    }  # fmt: skip


def aligning(dtype, out_dtype):
    """`AlignRois` from one type to another, and the bytes that a launch uses of each buffer."""

    def shapes(regions_of_all, regions, channels, height, width, size):
        pictures = regions_of_all // regions
        return (pictures, channels, height, width), (pictures, regions, 4), (regions_of_all, channels, size, size)

    def align(features, boxes, regions, channels, height, width, size, samples, stride, regions_out):
        maps, places, result = shapes(boxes.size // 16, regions, channels, height, width, size)
        view(regions_out, out_dtype, *result)[...] = align_rois(
            view(features, dtype, *maps), view(boxes, np.float32, *places), size=int(size),
            samples=[int(samples)] * 2, stride=float(stride), dtype=1 if out_dtype == np.float32 else 10,
        )  # fmt: skip

    def used(launch):
        maps, places, result = shapes(
            launch.grid[0] * launch.grid[2], *(int(number) for number in launch.arguments[2:7])
        )
        return dict(zip((0, 1, 9), map(nbytes, (maps, places, result), (dtype, np.float32, out_dtype)), strict=True))

    return align, used


def assembling(dtype):
    """`PsAssemble` of maps of a type, and the bytes that a launch uses of each buffer."""

    def shapes(regions_of_all, regions, channels, height, width, bins, size):
        pictures = regions_of_all // regions
        maps = (pictures, channels * bins * bins, height, width)
        return maps, (pictures, regions, 4), (regions_of_all, channels, size, size)

    def assemble(maps, boxes, regions, channels, height, width, bins, size, stride, out):
        given, places, result = shapes(boxes.size // 16, regions, channels, height, width, bins, size)
        view(out, np.float32, *result)[...] = ps_assemble(
            view(maps, dtype, *given), view(boxes, np.float32, *places), bins=int(bins), size=int(size),
            stride=float(stride),
        )  # fmt: skip

    def used(launch):
        given, places, result = shapes(
            launch.grid[0] * launch.grid[2], *(int(number) for number in launch.arguments[2:8])
        )
        return dict(zip((0, 1, 9), map(nbytes, (given, places, result), (dtype, *[np.float32] * 2)), strict=True))

    return assemble, used


def nbytes(shape, dtype):
    return math.prod(shape) * np.dtype(dtype).itemsize


def nms_masks(boxes, count, threshold, masks):
    """The first launch of `Nms`: here it settles all, and the second passes it on."""
    kept = nms(view(boxes, np.float32, boxes.size // (16 * count), count, 4), float(threshold))
    view(masks, np.float32, *kept.shape)[...] = kept


def nms_keep(masks, count, keep):
    keep[...] = masks[: keep.size]


def used_by_nms_masks(launch):
    pictures, count = launch.grid[2], int(launch.arguments[1])
    return {0: pictures * count * 16, 3: pictures * count * -(-count // 64) * 8}


def used_by_nms_keep(launch):
    pictures, count = launch.grid[0], int(launch.arguments[1])
    return {0: pictures * count * -(-count // 64) * 8, 2: pictures * count * 4}
