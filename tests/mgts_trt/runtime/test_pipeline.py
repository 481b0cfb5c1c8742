import json
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import SEPARATE_MODES, Mode
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.runtime import pipeline
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.session.backends import Runtime
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle

GREY = 90


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


def scene(*cells: tuple[int, int], scale: int = 1) -> np.ndarray:
    """A grey picture with white cells, the people of the tiny bundle; `scale` times the canvas."""
    image = np.full((*CANVAS, 3), GREY, np.uint8)
    for row, column in cells:
        image[row * CELL[0] : (row + 1) * CELL[0], column * CELL[1] : (column + 1) * CELL[1]] = 255
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_finds_the_people_of_a_scene(bundle: Bundle, mode: Mode) -> None:
    with PersonSearch(bundle, mode=mode) as search:
        people = search(scene((0, 1), (1, 4), scale=3))
    assert len(people) == 2
    expected = [[16, 0, 32, 32], [64, 32, 80, 64]]
    assert sorted(people.boxes.tolist()) == [[3 * v for v in box] for box in expected]
    assert (people.scores > 0.9).all()
    np.testing.assert_allclose(np.linalg.norm(people.embeddings, axis=1), 1, atol=1e-5)
    stages = ["letterbox", "detector", "masknet", "separate", "reid", "total"]
    assert list(people.timings) == [stage for stage in stages if mode == "net" or stage != "masknet"]
    assert people.timings["total"] >= sum(ms for stage, ms in people.timings.items() if stage != "total") * 0.99
    json.dumps(people.to_dict())


def test_masks_are_what_the_mode_sees(bundle: Bundle) -> None:
    image = scene((0, 1), scale=2)
    masks = {}
    for mode in SEPARATE_MODES:
        with PersonSearch(bundle, mode=mode) as search:
            people = search(image)
            masks[mode] = people.masks
            assert people.instances.tolist() == [1 if mode == "net" else 0]
    white = (image == 255).all(axis=2)
    assert masks["none"] is None
    np.testing.assert_array_equal(masks["box"][0], white)
    np.testing.assert_array_equal(masks["net"][0], white)


def test_mode_net_falls_back_to_the_box_where_the_mask_net_saw_nobody(bundle: Bundle) -> None:
    image = scene((0, 1))
    with PersonSearch(bundle, mode="net") as search:
        people = search.embed(image, np.array([[64.0, 32, 80, 64]]))
    assert people.instances.tolist() == [0]
    assert people.masks[0].sum() == 16 * 32


def test_modes_differ_in_what_reid_sees(bundle: Bundle) -> None:
    image = scene((0, 1), (1, 2))
    crops = {}
    for mode in SEPARATE_MODES:
        with PersonSearch(bundle, mode=mode) as search:
            crops[mode] = search(image).crops
    assert (crops["none"][:, 2] - crops["none"][:, 0] == CELL[1]).all(), "Table 6's baseline takes no context"
    np.testing.assert_array_equal(crops["net"], crops["box"])
    assert (crops["box"][:, 3] - crops["box"][:, 1] > CELL[0]).all()


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_nobody_in_view(bundle: Bundle, mode: Mode) -> None:
    with PersonSearch(bundle, mode=mode) as search:
        people = search(scene())
    assert len(people) == 0
    assert people.boxes.shape == (0, 4)
    assert people.embeddings.shape == (0, 128)
    assert people.masks is None or people.masks.shape == (0, *CANVAS)
    assert people.draw(scene()).shape == (*CANVAS, 3)


def test_top_takes_the_best_whatever_their_score(bundle: Bundle) -> None:
    with PersonSearch(bundle, mode="box") as search:
        image = scene((0, 0), (0, 2), (1, 1), (1, 5))
        assert len(search(image)) == 4
        assert len(search(image, top=3)) == 3
        np.testing.assert_array_equal(search(image, top=3).boxes, search(image).boxes[:3])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 47), (640, 480), (2000, 300)])
def test_pictures_of_any_shape(bundle: Bundle, shape: tuple[int, int]) -> None:
    with PersonSearch(bundle, mode="net") as search:
        people = search(np.full((*shape, 3), 255, np.uint8))
    height, width = shape
    assert (people.boxes >= 0).all()
    assert (people.boxes <= np.array([width, height, width, height]) + 1e-3).all()
    assert (people.boxes[:, 2:] > people.boxes[:, :2]).all()


def test_300_persons_are_described_in_batches(bundle: Bundle) -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 360, 3), np.uint8)
    corners = np.random.default_rng(1).uniform(0, 200, (300, 2))
    boxes = np.hstack([corners, corners + np.array([20, 30])])
    with PersonSearch(bundle, mode="box") as search:
        together = search.embed(image, boxes)
        alone = np.concatenate([search.embed(image, boxes[i : i + 1]).embeddings for i in (0, 63, 64, 65, 299)])
    assert together.embeddings.shape == (300, 128)
    np.testing.assert_allclose(together.embeddings[[0, 63, 64, 65, 299]], alone, atol=1e-5)
    np.testing.assert_allclose(together.boxes, boxes, atol=1e-3)


def test_embed_cuts_off_what_lies_outside(bundle: Bundle) -> None:
    with PersonSearch(bundle, mode="box") as search:
        people = search.embed(scene(), np.array([[-10.0, -10, 20, 30]]))
    np.testing.assert_allclose(people.boxes, [[0, 0, 20, 30]], atol=1e-4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[200, 200, 300, 300]], "holds no pixel of the 96×64 picture"),
        ([[5, 5, 5, 9]], "holds no pixel"),
        ([[9, 9, 1, 1]], "holds no pixel"),
        ([[0, 0, np.nan, 5]], "holds no pixel"),
        ([0, 0, 5, 5], r"shape \[N, 4\] expected"),
    ],
)
def test_embed_refuses_impossible_boxes(bundle: Bundle, boxes, message: str) -> None:
    with PersonSearch(bundle, mode="box") as search, pytest.raises(ImageError, match=message):
        search.embed(scene(), np.array(boxes, np.float64))


def test_several_threads_get_the_answers_of_one(bundle: Bundle) -> None:
    scenes = [scene((i % 2, i % 6), ((i + 1) % 2, (i + 3) % 6)) for i in range(12)]
    with PersonSearch(bundle, mode="net", threads=1) as search:
        alone = [search(image) for image in scenes]
        results: dict[int, object] = {}

        def work(start: int) -> None:
            for i in range(start, len(scenes), 4):
                results[i] = search(scenes[i])

        threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == len(scenes)
    for i, people in enumerate(alone):
        np.testing.assert_array_equal(results[i].boxes, people.boxes)
        np.testing.assert_allclose(results[i].embeddings, people.embeddings, atol=1e-6)


def test_a_closed_pipeline_says_so(bundle: Bundle) -> None:
    search = PersonSearch(bundle, mode="box")
    search.close()
    search.close()
    with pytest.raises(BackendError, match="closed"):
        search(scene())


def test_what_it_opens_is_closed_and_what_it_is_given_stays_open(bundle: Bundle) -> None:
    given = {model: OnnxRuntimeSession(bundle, model, "fp32") for model in MODELS_OF_MODE["box"]}
    with PersonSearch(bundle, mode="box", sessions=given) as search:
        assert (search.runtime.backend, search.precision) == ("onnxruntime", "fp32")
        assert len(search(scene((0, 0)))) == 1
    with pytest.raises(BackendError, match="closed"):
        search(scene())
    assert all(given[model].run(zeros(given[model])) for model in given)


@pytest.mark.parametrize("fails", [None, "mgts"])
def test_all_sessions_are_closed_even_if_one_does_not_open(bundle: Bundle, monkeypatch, fails: str | None) -> None:
    opened = []

    def open_session(bundle: Bundle, model: str, runtime: Runtime, *, precision: str, **how: Any) -> Session:
        if model == fails:
            raise BackendError("There is no memory for a session.")
        opened.append(OnnxRuntimeSession(bundle, model, precision, **how))
        return opened[-1]

    monkeypatch.setattr(pipeline, "open_session", open_session)
    with pytest.raises(BackendError, match="no memory for a session") if fails else nullcontext():
        PersonSearch(bundle, mode="net").close()
    assert [session.model for session in opened] == [model for model in MODELS_OF_MODE["net"] if model != fails]
    for session in opened:
        with pytest.raises(BackendError, match=f"session of {session.model} is closed"):
            session.run(zeros(session))


def zeros(session: Session) -> dict[str, np.ndarray]:
    """Inputs of one row."""
    shapes = {name: [1 if isinstance(size, str) else size for size in t.shape] for name, t in session.inputs.items()}
    return {name: np.zeros(shape, session.inputs[name].dtype) for name, shape in shapes.items()}


def test_unknown_mode(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="no mode 'mask'"):
        PersonSearch(bundle, mode="mask")  # type: ignore[arg-type]


def test_open_by_path(bundle: Bundle) -> None:
    with PersonSearch.open(str(bundle.root), mode="none", backend="onnxruntime", threads=1) as search:
        assert search.runtime.backend == "onnxruntime"
        assert len(search(scene((0, 0)))) == 1


def test_masks_of_a_crowd_in_a_huge_picture_are_refused_not_allocated(bundle: Bundle) -> None:
    image = np.zeros((3000, 4000, 3), np.uint8)
    boxes = np.tile([[0.0, 0, 93, 187]], (100, 1))  # just under two by four pixels of the canvas
    with PersonSearch(bundle, mode="box") as search:
        people = search.embed(image, boxes)
    with pytest.raises(ImageError, match=r"people\.mask\(i\)"):
        _ = people.masks
    rows, columns = np.nonzero(people.mask(99))
    assert (rows.max(), columns.max()) == (186, 93)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_stream_of_pictures(bundle: Bundle, depth: int) -> None:
    images = [scene((0, 1)), np.zeros((3, 3)), scene(), scene((1, 2), (0, 4))]
    with PersonSearch(bundle, mode="box") as search:
        found = list(search.stream(images, depth=depth, errors="return"))
        assert [None if isinstance(each, ImageError) else len(each) for each in found] == [1, None, 0, 2]
        results = search.stream(images, top=1)
        assert len(next(results)) == 1
        with pytest.raises(ImageError, match="float64"):
            next(results)
        assert [len(people) for people in results] == [0, 1]
        with pytest.raises(BackendError, match="depth is 0"):
            search.stream(images, depth=0)


def test_the_stream_reads_no_further_than_it_is_asked(bundle: Bundle) -> None:
    read: list[int] = []
    with PersonSearch(bundle, mode="none") as search:
        results = search.stream((read.append(i) or scene() for i in range(4)), depth=3)  # type: ignore[func-returns-value]
        for i in range(4):
            next(results)
            assert read == list(range(i + 1))


class OnGpu:
    """What another library's array on a GPU shows."""

    __cuda_array_interface__ = {"shape": (4, 4, 3), "typestr": "|u1", "data": (256, False), "version": 3}  # noqa: RUF012


def test_what_only_a_gpu_can_take_is_refused(bundle: Bundle) -> None:
    with PersonSearch(bundle, mode="box", backend="onnxruntime") as search:
        with pytest.raises(ImageError, match="lies in GPU memory"):
            search(OnGpu())
        with pytest.raises(BackendError, match="ONNX Runtime reads pictures in host memory"):
            search(scene(), stream=0)
        with pytest.raises(BackendError, match="ONNX Runtime reads pictures in host memory"):
            search.embed(scene(), np.array([[0.0, 0, 9, 9]]), stream=0)
        assert search.runtime.graph_refusals == {}


def test_real_photos(bundle: Bundle, public_photos: list[Path]) -> None:
    from mgts_trt.pictures.image import read_image

    assert public_photos
    with PersonSearch(bundle, mode="net") as search:
        for path in public_photos:
            image = read_image(path)
            people = search(image, top=2)
            assert len(people.embeddings) == len(people)
            assert people.draw(image).shape == image.shape
