"""Our kernels at the sizes of a bundle: their launches, and the bytes each must move at least."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.inputs import spread_boxes
from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from mgts_trt.runtime.gpu import kernels
from mgts_trt.stages import Letterbox, expand_boxes

Put = Callable[[Array], Pointer]
"""Copies an array to the device, where it stays."""


@dataclass(frozen=True)
class Case:
    """One kernel, or what is launched together.

    Attributes:
        kernel: Its name.
        work: For people: on what.
        bytes: What it must read and write at least.
        launches: In order.
    """

    kernel: str
    work: str
    bytes: int
    launches: tuple[Launch, ...]


class Cases:
    """The launches of one picture's way through the pipeline.

    Args:
        bundle: Gives the sizes.
        image: The picture.
        people: How many.
        put: Where arrays go.
    """

    def __init__(self, bundle: Bundle, image: Image, people: int, put: Put) -> None:
        self._bundle, self._image, self._people, self._put = bundle, image, people, put
        self._manifest: Manifest = bundle.manifest
        self._geometry = Letterbox((image.shape[0], image.shape[1]), self._manifest.canvas)
        self._boxes = spread_boxes(self._geometry, people)
        self._random = np.random.default_rng(0)
        canvas = self._manifest.canvas
        self._canvas = put(self._geometry.apply(image, self._manifest.pad))
        self._count = put(np.array([people, people], np.int32))
        self._map = put(self._random.integers(0, 3, canvas).astype(np.uint16))
        crops = expand_boxes(self._boxes, self._manifest.gamma, self._geometry.content_hw)
        tights = expand_boxes(self._boxes, 1.0, self._geometry.content_hw)
        self._crops, self._tights = put(crops), put(tights)
        self._instances = put(np.ones(people, np.int32))
        self._crop_pixels = int(((crops[:, 2] - crops[:, 0]) * (crops[:, 3] - crops[:, 1])).sum())

    def __iter__(self) -> Iterator[Case]:
        yield self._letterbox()
        yield self._select_people()
        if "masknet" in self._manifest.models:
            yield self._paint_instances()
        yield self._separate_people()
        for dtype in ("float32", "float16"):
            yield self._person_patches(dtype)

    def _letterbox(self) -> Case:
        canvas = np.empty((*self._manifest.canvas, 3), np.uint8)
        launch = kernels.letterbox(
            self._geometry, self._put(self._image), self._image.strides[0], self._put(canvas), pad=self._manifest.pad
        )
        (height, width), (tall, wide) = self._image.shape[:2], self._manifest.canvas
        work = f"{height}×{width} → {tall}×{wide}"
        return Case("letterbox", work, self._image.nbytes + canvas.nbytes, (launch,))

    def _select_people(self) -> Case:
        rows = int(self._bundle.model("detector").outputs["scores"].shape[1])
        boxes = np.resize(self._boxes, (rows, 4)).astype(np.float32)
        scores = np.sort(self._random.random(rows, np.float32))[::-1]
        out, out_scores = np.empty((self._people, 4), np.float32), np.empty(self._people, np.float32)
        launch = kernels.select_people(
            self._geometry, self._put(boxes), self._put(np.ascontiguousarray(scores)), rows, threshold=0.0,
            most=self._people, people=self._put(out), people_scores=self._put(out_scores),
            count=self._put(np.zeros(2, np.int32)),
        )  # fmt: skip
        moved = boxes.nbytes + scores.nbytes + out.nbytes + out_scores.nbytes + 8
        return Case("select_people", f"{rows} rows", moved, (launch,))

    def _paint_instances(self) -> Case:
        rows, size = (int(n) for n in self._bundle.model("masknet").outputs["masks"].shape[1:3])
        shown = min(rows, self._people)
        boxes = np.zeros((rows, 4), np.float32)
        boxes[:shown] = self._boxes[:shown]
        scores = np.zeros(rows, np.float32)
        scores[:shown] = np.linspace(0.99, 0.9, shown)
        masks = self._random.random((rows, size, size), np.float32)
        painted = np.empty(self._manifest.canvas, np.uint16)
        thresholds = self._manifest.thresholds
        launch = kernels.paint_instances(
            self._manifest.canvas, self._put(boxes), self._put(scores), self._put(masks), rows, size,
            score_threshold=thresholds.instance, mask_threshold=thresholds.mask, instance_map=self._put(painted),
        )  # fmt: skip
        moved = boxes.nbytes + scores.nbytes + shown * size * size * 4 + painted.nbytes
        return Case("paint_instances", f"{shown} of {rows} instances", moved, (launch,))

    def _separate_people(self) -> Case:
        outputs = [self._put(np.empty((self._people, 4), np.int32)) for _ in range(2)]
        launch = kernels.separate_people(
            self._geometry, self._put(self._boxes), self._count, self._people, gamma=self._manifest.gamma,
            instance_map=self._map, rows=2, crops=outputs[0], tights=outputs[1],
            instances=self._put(np.empty(self._people, np.int32)),
        )  # fmt: skip
        moved = 2 * self._crop_pixels + self._people * (16 + 16 + 16 + 4)
        return Case("separate_people", f"{self._people} people, {self._crop_pixels:,} pixels", moved, (launch,))

    def _person_patches(self, dtype: str) -> Case:
        manifest = self._manifest
        patches = np.empty((self._people, 3, *manifest.patch), dtype)
        launch = kernels.person_patches(
            self._geometry, self._canvas, self._count, first=0, batch=self._people, instance_map=self._map,
            crops=self._crops, tights=self._tights, instances=self._instances, patch_hw=manifest.patch,
            mean=manifest.normalisation.mean, std=manifest.normalisation.std, dtype=dtype,
            foreground=self._put(patches), original=self._put(patches),
        )  # fmt: skip
        # Where a crop is larger than its patch, a patch reads four pixels of it for each of its own.
        read = min(self._crop_pixels, 4 * self._people * manifest.patch[0] * manifest.patch[1])
        moved = 5 * read + 2 * patches.nbytes
        height, width = manifest.patch
        return Case("person_patches", f"{self._people} × 2 × {height}×{width}, {dtype}", moved, (launch,))
