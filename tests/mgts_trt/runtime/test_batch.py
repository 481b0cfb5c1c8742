"""`PersonSearch.batch`: pictures together give what each gives alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.choices import SEPARATE_MODES, Mode
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.host_pipeline import HostPipeline
from mgts_trt.runtime.people import People
from mgts_trt.runtime.session.onnxruntime import BoundSession, OnnxRuntimeSession
from mgts_trt.runtime.session.pictures import run_pictures
from tests.helpers.gpu_networks import assert_same, gpu_pipeline
from tests.helpers.gpu_networks import scene as gpu_scene
from tests.helpers.paths import TRAINED
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle

NEAR = 1e-6
"""Of embeddings: a product of a batch sums in another order than that of one row."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


def scene(seed: int) -> np.ndarray:
    """Of any size, with none to four people."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 90, (*CANVAS, 3), dtype=np.uint8)
    for cell in random.permutation(12)[: seed % 5]:
        row, column = divmod(int(cell), 6)
        image[row * CELL[0] : (row + 1) * CELL[0], column * CELL[1] : (column + 1) * CELL[1]] = 200 + cell
    scale = 1 + seed % 3
    return image.repeat(scale, axis=0).repeat(scale, axis=1)[: CANVAS[0] * scale - seed % 2]


SCENES = [scene(seed) for seed in range(11)]


@pytest.mark.parametrize("size", [1, 3, 4, 64])
@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_a_batch_is_its_pictures(bundle: Bundle, mode: Mode, size: int) -> None:
    with PersonSearch(bundle, mode=mode) as alone, PersonSearch(bundle, mode=mode, batch_size=size) as together:
        wanted = [alone(image) for image in SCENES]
        assert {len(people) for people in wanted} >= {0, 1, 4}
        for order in (range(11), [7, 0, 10, 4, 2], [5, 5]):
            found = together.batch(SCENES[place] for place in order)
            assert len(found) == len(order)
            for people, place in zip(found, order, strict=True):
                assert_same(people, wanted[place], embeddings=NEAR)
        assert_same(together(SCENES[4]), wanted[4], embeddings=NEAR)


def test_re_id_takes_the_people_of_all_pictures_in_turns(bundle: Bundle) -> None:
    with PersonSearch(bundle) as alone, PersonSearch(bundle, max_people=3, batch_size=8) as together:
        for people, image in zip(together.batch(SCENES, top=4), SCENES, strict=True):
            assert_same(people, alone(image, top=4), embeddings=NEAR)


@pytest.mark.parametrize("size", [1, 3])
def test_a_picture_that_cannot_be_read_costs_itself_alone(bundle: Bundle, size: int) -> None:
    images = [SCENES[1], "no picture", SCENES[2], np.zeros((4, 4), np.uint8), SCENES[3]]
    with PersonSearch(bundle, batch_size=size) as search:
        found = search.batch(images, errors="return")
        assert [isinstance(each, ImageError) for each in found] == [False, True, False, True, False]
        for place in (0, 2, 4):
            people = found[place]
            assert isinstance(people, People)
            assert_same(people, search(images[place]), embeddings=NEAR)
        with pytest.raises(ImageError):
            search.batch(images)
        assert search.batch(["a", "b"], errors="return")[1:] != []
        assert search.batch([]) == []


def test_what_fails_in_a_network_fails_for_the_group(bundle: Bundle) -> None:
    search = PersonSearch(bundle, batch_size=2)
    pipeline = search._pipeline
    assert isinstance(pipeline, HostPipeline)
    runs, run = [], pipeline._sessions["detector"].run

    def fail_first(inputs):
        runs.append(len(inputs["image"]))
        if len(runs) == 1:
            raise BackendError("no memory")
        return run(inputs)

    pipeline._sessions["detector"].run = fail_first
    found = search.batch([SCENES[1], "no picture", SCENES[2], SCENES[3]], errors="return")
    assert [type(each) for each in found] == [BackendError, ImageError, People, People]
    assert runs == [1, 2]
    search.close()
    assert all(isinstance(each, BackendError) for each in search.batch(SCENES[:2], errors="return"))


def test_what_the_source_raises_is_raised(bundle: Bundle) -> None:
    def source() -> Iterator[np.ndarray]:
        yield SCENES[0]
        raise OSError("the disk is gone")

    with PersonSearch(bundle, batch_size=2) as search, pytest.raises(OSError, match="the disk is gone"):
        search.batch(source(), errors="return")


def test_no_more_is_read_than_is_searched_together(bundle: Bundle) -> None:
    read: list[int] = []

    def source() -> Iterator[np.ndarray]:
        for number, image in enumerate(SCENES[:5]):
            read.append(number)
            yield image

    with PersonSearch(bundle, mode="box", batch_size=2) as search:
        session, seen = search._pipeline._sessions["detector"], []  # type: ignore[attr-defined]
        run = session.run
        session.run = lambda inputs: (seen.append((len(read), len(inputs["image"]))), run(inputs))[1]
        search.batch(source())
    assert seen == [(2, 2), (4, 2), (5, 1)]


def test_what_is_asked_wrongly(bundle: Bundle) -> None:
    with PersonSearch(bundle) as search, pytest.raises(BackendError, match="errors is 'skip'"):
        search.batch([], errors="skip")  # type: ignore[call-overload]
    with pytest.raises(BackendError, match="batch_size is 0"):
        PersonSearch(bundle, batch_size=0)


def one_by_one(bundle: Bundle) -> Bundle:
    """The same bundle as somebody else's models may be: for one picture."""
    import onnx

    models = dict(bundle.manifest.models)
    for name in ("detector", "masknet"):
        path = bundle.model_path(name, "fp32")
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        onnx.save(model, path)
        entry = models[name]
        tensors = {
            kind: {key: spec.fixed({"B": 1}) for key, spec in getattr(entry, kind).items()}
            for kind in ("inputs", "outputs")
        }
        models[name] = entry.model_copy(update=tensors)
    return Bundle(
        bundle.root, Manifest.model_validate(bundle.manifest.model_copy(update={"models": models}).model_dump())
    )


def test_models_for_one_picture_run_picture_by_picture(bundle: Bundle, tmp_path) -> None:
    fixed = one_by_one(Bundle.open(make_tiny_bundle(tmp_path / "fixed")))
    with PersonSearch(bundle) as wanted, PersonSearch(fixed, batch_size=4) as search:
        for people, image in zip(search.batch(SCENES), SCENES, strict=True):
            assert_same(people, wanted(image), embeddings=NEAR)


@pytest.mark.parametrize("kind", [OnnxRuntimeSession, BoundSession])
@pytest.mark.parametrize("name", ["detector", "masknet"])
def test_a_session_takes_as_many_as_it_was_opened_for(bundle: Bundle, kind: type, name: str) -> None:
    random = np.random.default_rng(0)
    canvases = random.integers(0, 255, (5, *CANVAS, 3), dtype=np.uint8)
    alone, together = kind(bundle, name, "fp32", threads=1), kind(bundle, name, "fp32", threads=1, batch=8)
    assert (alone.inputs["image"].shape[0], together.inputs["image"].shape[0]) == (1, "B")
    for one, of_five in zip(run_pictures(alone, canvases), run_pictures(together, canvases), strict=True):
        for key, array in one.items():
            np.testing.assert_array_equal(of_five[key], array)


def test_the_gpu_gives_pictures_back_in_order() -> None:
    images = [gpu_scene(people, seed=people) for people in (3, 0, 9, 1)]
    pipeline = gpu_pipeline("net")
    try:
        found = pipeline.batch([images[0], "no picture", *images[1:]], top=None, errors="return")
        assert isinstance(found.pop(1), ImageError)
        assert [len(people) for people in found] == [3, 0, 9, 1]
        for people, image in zip(found, images, strict=True):
            assert_same(people, pipeline.search(image))
    finally:
        pipeline.close()


@pytest.mark.parametrize("mode", ["box", "net"])
def test_the_trained_networks_on_photographs(public_photos, mode: Mode) -> None:
    """The feature maps of a batch are summed as those of one picture here; sums of another order would show as 1e-4."""
    images = [read_image(photo) for photo in public_photos[:3]]
    with (
        PersonSearch.open(TRAINED, mode=mode, backend="onnxruntime") as alone,
        PersonSearch.open(TRAINED, mode=mode, backend="onnxruntime", batch_size=3) as together,
    ):
        wanted = [alone(image) for image in images]
        assert sum(map(len, wanted)) > 1
        for found in (together.batch(images), together.batch(images[::-1])[::-1]):
            for people, expected in zip(found, wanted, strict=True):
                assert len(people) == len(expected)
                np.testing.assert_allclose(people.boxes, expected.boxes, atol=0.01)
                np.testing.assert_allclose(people.scores, expected.scores, atol=1e-4)
                np.testing.assert_allclose(people.embeddings, expected.embeddings, atol=1e-4)
                np.testing.assert_array_equal(people.instances, expected.instances)
