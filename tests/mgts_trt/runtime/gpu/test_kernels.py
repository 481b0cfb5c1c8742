"""The kernels against their references: on the CPU always, and on the GPU where there is one."""

import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.gpu import kernels
from mgts_trt.stages import Letterbox, expand_boxes
from mgts_trt.stages import paint_instances as reference_paint
from mgts_trt.stages import person_patches as reference_patches
from mgts_trt.stages.nv12 import YuvMatrix, nv12_to_rgb
from tests.helpers.machines import junk

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize(
    ("source", "name", "value"),
    [
        *(
            (source, "TILE_W", kernels._TILE_W)
            for source in ("letterbox", "nv12_to_rgb", "paint_instances", "person_patches")
        ),
        *(
            (source, "TILE_H", kernels._TILE_H)
            for source in ("letterbox", "nv12_to_rgb", "paint_instances", "person_patches")
        ),
        *((source, "THREADS", kernels._THREADS) for source in ("select_people", "person_patches")),
        ("person_patches", "MAX_INSTANCES", kernels.MAX_INSTANCES),
    ],
)
def test_sizes_said_twice_are_the_same(source, name, value):
    text = (engines_folder() / "kernels" / f"{source}.cu").read_text(encoding="utf-8")
    assert f"constexpr int {name} = {value};" in text


class TestLetterbox:
    @pytest.mark.parametrize(
        ("image_hw", "canvas_hw"),
        [
            ((90, 150), (45, 75)),  # 2 × 2, which OpenCV rounds in its own way
            ((90, 150), (30, 50)),
            ((96, 60), (16, 40)),  # 6 × 6: halves occur
            ((97, 61), (48, 80)),
            ((301, 211), (40, 70)),
            ((41, 300), (41, 64)),
            ((1, 50), (10, 20)),
            ((40, 70), (40, 70)),
            ((20, 30), (48, 80)),
            ((37, 23), (40, 70)),
            ((1, 1), (7, 9)),
            ((2000, 1), (33, 41)),
        ],
    )
    def test_is_the_reference_bit_for_bit(self, machine, image_hw, canvas_hw):
        rng = np.random.default_rng(0)
        geometry = Letterbox(image_hw, canvas_hw)
        padded = rng.integers(0, 256, (image_hw[0], image_hw[1] + 5, 3), dtype=np.uint8)
        image, canvas = machine.put(padded), machine.put(junk((*canvas_hw, 3), np.uint8))
        machine.run(kernels.letterbox(geometry, image, padded.strides[0], canvas, pad=(1, 2, 3)))
        expected = geometry.apply(np.ascontiguousarray(padded[:, : image_hw[1]]), (1, 2, 3))
        np.testing.assert_array_equal(machine.get(canvas), expected)

    def test_random_sizes(self, machine):
        rng = np.random.default_rng(1)
        for _ in range(40):
            image_hw, canvas_hw = (tuple(int(v) for v in rng.integers(1, 90, 2)) for _ in range(2))
            geometry = Letterbox(image_hw, canvas_hw)
            picture = rng.integers(0, 256, (*image_hw, 3), dtype=np.uint8)
            image, canvas = machine.put(picture), machine.put(junk((*canvas_hw, 3), np.uint8))
            machine.run(kernels.letterbox(geometry, image, picture.strides[0], canvas))
            np.testing.assert_array_equal(machine.get(canvas), geometry.apply(picture, (0, 0, 0)), str(geometry))

    def test_a_photo(self, machine, public_photos):
        photo = read_image(public_photos[0])
        geometry = Letterbox(photo.shape[:2], (480, 800))
        image, canvas = machine.put(photo), machine.put(junk((480, 800, 3), np.uint8))
        machine.run(kernels.letterbox(geometry, image, photo.strides[0], canvas, pad=(9, 8, 7)))
        np.testing.assert_array_equal(machine.get(canvas), geometry.apply(photo, (9, 8, 7)))

    def test_rows_that_overlap_are_refused(self):
        with pytest.raises(BackendError, match=r"10 pixels wide cannot be 29 bytes apart.*at least 30"):
            kernels.letterbox(Letterbox((8, 10), (8, 10)), Pointer(1), 29, Pointer(1))


class TestNv12ToRgb:
    @pytest.mark.parametrize("turns", range(4))
    @pytest.mark.parametrize(("image_hw", "pitches"), [((64, 96), (96, 96)), ((33, 51), (64, 60)), ((1, 1), (1, 2))])
    def test_is_the_reference_bit_for_bit(self, machine, image_hw, pitches, turns):
        rng, (height, width) = np.random.default_rng(turns), image_hw
        luma = rng.integers(0, 256, (height, pitches[0]), dtype=np.uint8)
        chroma = rng.integers(0, 256, (-(-height // 2), pitches[1]), dtype=np.uint8)
        shape = (width, height, 3) if turns % 2 else (height, width, 3)
        halves = chroma[:, : width + width % 2].reshape(len(chroma), -1, 2)
        for full in (False, True):
            matrix, rgb = YuvMatrix.of(1, full=full), machine.put(junk(shape, np.uint8))
            planes = machine.put(luma), pitches[0], machine.put(chroma), pitches[1]
            machine.run(kernels.nv12_to_rgb(image_hw, *planes, matrix, turns, rgb))
            expected = nv12_to_rgb(luma[:, :width], halves, matrix, turns)
            np.testing.assert_array_equal(machine.get(rgb), expected)

    @pytest.mark.parametrize(("pitches", "turns"), [((9, 10), 0), ((10, 9), 0), ((10, 10), 4)])
    def test_rows_that_overlap_and_odd_turns_are_refused(self, pitches, turns):
        with pytest.raises(BackendError, match="10 pixels wide has rows of at least 10 and 10 bytes"):
            kernels.nv12_to_rgb(
                (8, 10), Pointer(1), pitches[0], Pointer(1), pitches[1], YuvMatrix.of(1, full=False), turns, Pointer(1)
            )


class TestSelectPeople:
    @pytest.mark.parametrize("most", [1, 40, 700])
    @pytest.mark.parametrize("threshold", [0.0, 0.5])
    @pytest.mark.parametrize("rows", [1, 100, 600])
    def test_is_the_pipelines_selection(self, machine, rows, threshold, most):
        rng = np.random.default_rng(rows)
        geometry = Letterbox((300, 200), (48, 80))
        boxes = random_boxes(rng, rows, (48, 80))
        scores = np.sort(rng.random(rows).astype(np.float32))[::-1].copy()
        scores[rows // 2 :: 7] = 0.5  # exactly the threshold
        scores[rows - rows // 4 :] = 0
        boxes[::11, 3] = np.nan
        clipped = geometry.clip(boxes)
        keep = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1) & (scores >= np.float32(threshold)) & (scores > 0)
        people, people_scores = machine.put(junk((most, 4), np.float32)), machine.put(junk(most, np.float32))
        count = machine.put(junk(2, np.int32))
        machine.run(
            kernels.select_people(
                geometry, machine.put(boxes), machine.put(scores), rows, threshold=threshold, most=most, people=people,
                people_scores=people_scores, count=count,
            )
        )  # fmt: skip
        n = min(int(keep.sum()), most)
        assert machine.get(count).tolist() == [n, keep.sum()]
        np.testing.assert_array_equal(machine.get(people)[:n], clipped[keep][:n])
        np.testing.assert_array_equal(machine.get(people_scores)[:n], scores[keep][:n])
        assert not machine.get(people)[n:].any()
        assert not machine.get(people_scores)[n:].any()


class TestPaintInstances:
    @pytest.mark.parametrize(("rows", "m"), [(1, 1), (30, 7), (300, 21)])
    def test_is_the_reference_but_at_the_threshold(self, machine, rows, m):
        rng = np.random.default_rng(rows)
        canvas_hw = (22, 40)
        boxes = random_boxes(rng, rows, canvas_hw)
        boxes[rows - rows // 5 :] = 0  # padding
        boxes[rows // 3 :: 9, 0] = -np.inf
        scores = np.round(rng.uniform(0.2, 1, rows), 1).astype(np.float32)  # ties, in no order
        boxes[0], scores[0] = (3.3, 4.4, 30.7, 21.2), 0.3
        # Smooth masks: a cell is some way from the threshold, save for the few pixels between two cells.
        masks = np.where(rng.random((rows, m, m)) < 0.5, 0.1, 0.9).astype(np.float32)
        masks[0] = 0.9
        thresholds = {"score_threshold": 0.3, "mask_threshold": 0.4}
        out = machine.put(junk(canvas_hw, np.uint16))
        machine.run(
            kernels.paint_instances(
                canvas_hw, machine.put(boxes), machine.put(scores), machine.put(masks), rows, m, **thresholds,
                instance_map=out,
            )
        )  # fmt: skip
        got = machine.get(out)
        # Wherever the reference is the same a hair below and above the threshold, nothing is left to rounding.
        low, high = (
            reference_paint(boxes, scores, masks, canvas_hw, score_threshold=0.3, mask_threshold=0.4 + hair)
            for hair in (-1e-5, 1e-5)
        )
        sure = low == high
        assert sure.mean() > 0.98
        assert (low > 0).any()
        np.testing.assert_array_equal(got[sure], low[sure])

    def test_too_many_rows_are_refused(self):
        with pytest.raises(BackendError, match="1024 places for instances, but the kernels hold at most 1023"):
            kernels.paint_instances(
                (8, 8), Pointer(1), Pointer(1), Pointer(1), 1024, 21, score_threshold=0.5, mask_threshold=0.4,
                instance_map=Pointer(1),
            )  # fmt: skip


class TestPersonPatches:
    @pytest.mark.parametrize("gamma", [1.0, 1.3])
    @pytest.mark.parametrize("mode", ["net", "box", "none"])
    @pytest.mark.parametrize("patch_hw", [(16, 8), (33, 40)])
    def test_is_the_reference(self, machine, mode, gamma, patch_hw):
        got, expected = self.patches(machine, mode, gamma, patch_hw, "float32")
        np.testing.assert_array_equal(got["crops"], expected.boxes)
        np.testing.assert_array_equal(got["instances"], expected.instances)
        assert mode != "net" or {0} < set(expected.instances.tolist())
        # 1e-5 of normalised values: 0.0006 grey levels.
        np.testing.assert_allclose(got["original"], expected.original, atol=1e-5)
        if mode != "none":
            np.testing.assert_allclose(got["foreground"], expected.foreground, atol=1e-5)

    def test_in_half_precision(self, machine):
        got, expected = self.patches(machine, "net", 1.3, (16, 8), "float16")
        np.testing.assert_allclose(got["original"], expected.original, atol=2e-3)
        np.testing.assert_allclose(got["foreground"], expected.foreground, atol=2e-3)

    @staticmethod
    def patches(machine, mode, gamma, patch_hw, dtype):
        """Of 11 people among 13 places, made in batches of 8; what the kernels gave, and the reference."""
        rng = np.random.default_rng(3)
        geometry, n, most, batch, rows = Letterbox((93, 130), (48, 80)), 11, 13, 8, 9
        canvas = rng.integers(0, 256, (*geometry.canvas_hw, 3), dtype=np.uint8)
        people = geometry.clip(random_boxes(rng, most, geometry.content_hw))
        people[0], people[1] = (40, 5, 50, 40), (0, 0, 80, 48)  # in the gap of the map; all of the picture
        instance_map = np.kron(rng.integers(0, rows + 1, (6, 8)), np.ones((8, 10))).astype(np.uint16)
        instance_map[:, 30:60] = 0  # wider than a box that is all gap, expanded
        shown = mode == "net"
        there = machine.put(instance_map) if shown else None
        count = machine.put(np.array([n, n], np.int32))
        crops, tights = machine.put(junk((most, 4), np.int32)), machine.put(junk((most, 4), np.int32))
        instances = machine.put(junk(most, np.int32))
        launches = [
            kernels.separate_people(
                geometry, machine.put(people), count, most, gamma=gamma, instance_map=there, rows=rows, crops=crops,
                tights=tights, instances=instances,
            )
        ]  # fmt: skip
        outputs = []
        for first in range(0, most, batch):
            pair = [machine.put(junk((batch, 3, *patch_hw), dtype)) for _ in range(2)]
            outputs.append(pair)
            launches.append(
                kernels.person_patches(
                    geometry, machine.put(canvas), count, first=first, batch=batch, instance_map=there, crops=crops,
                    tights=tights, instances=instances, patch_hw=patch_hw, mean=MEAN, std=STD, dtype=dtype,
                    foreground=None if mode == "none" else pair[0], original=pair[1],
                )
            )  # fmt: skip
        machine.run(*launches)
        foreground, original = (np.concatenate([machine.get(pair[i]) for pair in outputs]) for i in range(2))
        assert (original[n:] == 77).all(), "what is beyond the count is left alone"
        assert mode != "none" or (foreground == 77).all()
        for made in (crops, tights, instances):
            assert (machine.get(made)[n:] == 77).all()
        np.testing.assert_array_equal(machine.get(tights)[:n], expand_boxes(people[:n], 1.0, geometry.content_hw))
        got = {
            "crops": machine.get(crops)[:n],
            "instances": machine.get(instances)[:n],
            "foreground": foreground[:n].astype(np.float32),
            "original": original[:n].astype(np.float32),
        }
        expected = reference_patches(
            canvas, people[:n], instance_map if shown else None, gamma=gamma, patch_hw=patch_hw, mean=MEAN, std=STD,
            content_hw=geometry.content_hw,
        )  # fmt: skip
        return got, expected

    def test_boxes_are_expanded_alike_everywhere(self, machine):
        rng = np.random.default_rng(4)
        geometry = Letterbox((48, 80), (48, 80))
        boxes = np.concatenate([
            rng.uniform(-30, 120, (300, 4)),  # outside the picture, and inside out
            rng.integers(-4, 90, (300, 4)) / 2,  # whole and half pixels, where rounding outwards is decided
        ]).astype(np.float32)  # fmt: skip
        crops, tights, instances = (machine.put(junk(shape, np.int32)) for shape in ((600, 4), (600, 4), 600))
        machine.run(
            kernels.separate_people(
                geometry, machine.put(boxes), machine.put(np.array([600], np.int32)), 600, gamma=1.3,
                instance_map=None, crops=crops, tights=tights, instances=instances,
            )
        )  # fmt: skip
        np.testing.assert_array_equal(machine.get(crops), expand_boxes(boxes, 1.3, (48, 80)))
        np.testing.assert_array_equal(machine.get(tights), expand_boxes(boxes, 1.0, (48, 80)))
        assert not machine.get(instances).any()

    def test_of_equal_votes_the_smaller_id_wins(self, machine):
        instance_map = np.zeros((40, 40), np.uint16)
        instance_map[:20, :20], instance_map[:20, 20:], instance_map[20:, :21] = 41, 40, 3
        instance_map[39, 0:20] = 0  # 400 votes each
        crops, tights, instances = (machine.put(junk(shape, np.int32)) for shape in ((1, 4), (1, 4), 1))
        machine.run(
            kernels.separate_people(
                Letterbox((40, 40), (40, 40)), machine.put(np.array([[0, 0, 40, 40]], np.float32)),
                machine.put(np.array([1], np.int32)), 1, gamma=1.0, instance_map=machine.put(instance_map), rows=60,
                crops=crops, tights=tights, instances=instances,
            )
        )  # fmt: skip
        votes = np.bincount(instance_map.ravel())
        assert votes[3] == votes[40] == votes[41] == 400
        assert machine.get(instances)[0] == 3

    def test_another_type_is_refused(self):
        with pytest.raises(BackendError, match="no kernel for int8; there are float32 and float16"):
            kernels._suffix("int8")


def random_boxes(rng, n, hw):
    """Boxes [n, 4] of all sizes, some of them partly or wholly outside, some thinner than a pixel."""
    centre = rng.uniform(-0.2, 1.2, (n, 2)) * (hw[1], hw[0])
    half = rng.gamma(1, 0.15, (n, 2)) * (hw[1], hw[0])
    return np.hstack([centre - half, centre + half]).astype(np.float32)
