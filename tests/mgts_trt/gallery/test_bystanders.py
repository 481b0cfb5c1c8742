from dataclasses import replace

import numpy as np
import pytest

from mgts_trt.gallery.bystanders import crop_alone, crop_probe_alone, hide_in_thumbnail, mask_of
from mgts_trt.gallery.entry import thumbnail
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.pictures.hiding import COVER, hidden_pixels
from mgts_trt.pictures.image import crop
from tests.helpers.stored_people import people_with, unit

IMAGE = np.full((60, 80, 3), 200, np.uint8)
BOXES = np.float32([[10, 5, 34, 55], [26, 5, 50, 55], [60, 5, 75, 50]])
"""Two who overlap, and one apart."""


def found(instances: tuple[int, ...] = (0, 0, 0)):
    """The three; an instance holds the left part of its box."""
    people = people_with(unit(0, rows=3))
    instance_map = np.zeros((60, 80), np.uint16)
    for instance, box in zip(instances, BOXES.astype(int), strict=True):
        instance_map[box[1] : box[3], box[0] : box[2] - 6] = instance
    return replace(
        people, boxes=BOXES, canvas_boxes=BOXES, crops=BOXES.astype(np.int32), instance_map=instance_map,
        instances=np.array(instances, np.int32),
    )  # fmt: skip


def covered(picture: np.ndarray) -> np.ndarray:
    return np.asarray((picture == COVER).all(2))


def test_a_crop_shows_one_person() -> None:
    people = found()
    expected = hidden_pixels((60, 80), BOXES[1:], BOXES[0])[5:55, 10:34]
    assert 0 < expected.mean() < 0.5
    assert np.array_equal(covered(crop_alone(IMAGE, people, 0)), expected)
    assert not covered(crop_alone(IMAGE, people, 2)).any()
    masked = crop_alone(IMAGE, found((1, 2, 3)), 1)
    assert not covered(masked)[people.mask(1)[5:55, 26:50][:, :18].nonzero()].all()
    assert not covered(masked)[:, :18].any()  # the mask


def test_one_mask_of_two_people_is_nobodys() -> None:
    assert mask_of(found((1, 1, 2)), 0) is None
    assert mask_of(found((0, 1, 2)), 0) is None
    own = mask_of(found((1, 1, 2)), 2)
    assert own is not None
    assert own.sum() == 9 * 45
    assert mask_of(replace(found((1, 2, 3)), has_masks=False), 0) is None


def test_the_person_found_in_a_named_box_is_the_one_who_stays() -> None:
    named = np.float32([11, 6, 33, 54])
    near = crop_probe_alone(IMAGE, found(), named)
    assert near.shape == crop(IMAGE, named).shape
    assert 0 < covered(near).mean() < 0.5
    assert covered(near)[:, -2:].all()
    assert not covered(near)[:, :12].any()
    # Where nobody of that size is found, whoever is found stands for others.
    assert covered(crop_probe_alone(IMAGE, found(), np.float32([0, 0, 80, 60]))).any()
    assert not covered(crop_probe_alone(IMAGE, found()[:0], named)).any()


@pytest.mark.parametrize("scale", [1, 9])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.4, 7.7)])
def test_a_thumbnail_at_any_scale(scale: int, corner: tuple[float, float]) -> None:
    boxes = BOXES * scale + np.float32([*corner, *corner])
    image = np.full((80 * scale, 90 * scale, 3), 200, np.uint8)
    picture = decode_image(thumbnail(image, boxes[0]), "thumbnail")
    assert max(picture.shape) <= 192
    hidden = covered(hide_in_thumbnail(picture, boxes[0], boxes[1:]))
    x1, y1, x2, y2 = *np.floor(boxes[0, :2]).astype(int), *np.ceil(boxes[0, 2:]).astype(int)
    full = hidden_pixels(image.shape[:2], boxes[1:], boxes[0])[y1:y2, x1:x2]
    assert hidden.mean() == pytest.approx(full.mean(), abs=0.04)
    assert hidden[:, -2:].all()
    assert not covered(hide_in_thumbnail(picture, boxes[0], boxes[2:])).any()


def test_others_of_the_same_frame_alone(tmp_path) -> None:
    pytest.importorskip("lancedb", reason="needs the extra gallery")
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.asking import matches_of
    from mgts_trt.gallery.bystanders import others_of
    from tests.helpers.stored_people import SPACE, entry
    from tests.helpers.stored_sightings import followed

    jpegs = [thumbnail(IMAGE, box) for box in BOXES]
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        for number in range(2):
            gallery.add([replace(entry(number), people=found(), thumbnails=jpegs)])
        gallery.add([replace(entry(3), people=found()[:1], thumbnails=jpegs[:1])])
        # Sightings, too: their best rows are of frames with others.
        entries, sightings = followed("/a.mp4", (1, 2, 3), sha256="7" * 64)
        gallery.add([replace(each, people=replace(each.people, boxes=BOXES), thumbnails=jpegs) for each in entries],
                    sightings)  # fmt: skip
        rows = [person for person, _ in gallery.rows()]
        told = others_of(gallery, rows)
        assert len(told) == len(rows) == 7 + 3 * len(entries)
        for person in rows:
            expected = [box.tolist() for box in BOXES if not np.array_equal(box, person.box)]
            alone = person.source == "/a/video.mp4" and person.number == 3
            assert sorted(told[person.id].tolist()) == ([] if alone else sorted(expected))
        assert others_of(gallery, []) == {}
        shown = matches_of(gallery, [*rows, *sightings], hide_others=True)
        plain = matches_of(gallery, [*rows, *sightings])
    assert len(shown) == len(plain) == len(rows) + 3
    assert sum(len(match.more) for match in shown) > 0
    for match, was in zip(shown, plain, strict=True):
        overlapped = match.box[0] < 60 and not (match.source == "/a/video.mp4" and match.number == 3)
        for picture, before in zip((match.crop, *match.more), (was.crop, *was.more), strict=True):
            assert covered(picture).any() == overlapped
            assert not covered(before).any()
