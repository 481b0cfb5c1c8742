"""The pipeline on the simulated device finds what the pipeline on the CPU finds, in every order of execution."""

import numpy as np
import pytest

from mgts_trt.choices import MODES
from mgts_trt.errors import ImageError
from tests.helpers.gpu_networks import CANVAS, assert_same, gpu_pipeline, noise, reference, scene

PICTURES = {
    "nobody": scene(0),
    "one": scene(1),
    "8": scene(8),
    "9": scene(9, scale=3),
    "65": scene(65),
    "portrait": noise(90, 40),
    "landscape": noise(25, 90),
    "tiny": noise(1, 1),
    "thin": noise(200, 3),
}


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def wanted(mode):
    search = reference(mode)
    return {name: search(image) for name, image in PICTURES.items()}


def test_the_pictures_have_the_people_their_names_say(wanted):
    assert [len(wanted[name]) for name in ("nobody", "one", "8", "9", "65")] == [0, 1, 8, 9, 65]
    assert any((people.instances > 0).any() for people in wanted.values()) == (wanted["8"].instance_map is not None)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_results_are_those_of_the_cpu(mode, wanted, seed, graphs):
    pipeline = gpu_pipeline(mode, seed, graphs=graphs)
    # Three times: launched, captured, and launched from the graph.
    for _ in range(3):
        for name, image in PICTURES.items():
            assert_same(pipeline.search(image), wanted[name])
    assert pipeline.graph_refusals == {}
    pipeline.close()


def test_timings_have_the_stages_of_the_cpu(mode, wanted):
    pipeline = gpu_pipeline(mode)
    assert list(pipeline.search(PICTURES["8"]).timings) == list(wanted["8"].timings)


@pytest.mark.parametrize(("seed", "batch"), [(0, 6), (1, 64), (2, 64)])
def test_given_people_are_described_however_many(mode, seed, batch):
    pipeline, search = gpu_pipeline(mode, seed, batch=batch), reference(mode)
    image = noise(60, 70)
    corners = np.random.default_rng(seed).uniform(0, 50, (150, 2))
    boxes = np.hstack([corners, corners + np.array([9, 15])])
    for count in (3, 0, 150, 3, 65):
        assert_same(pipeline.embed(image, boxes[:count]), search.embed(image, boxes[:count]))
        assert_same(pipeline.search(PICTURES["9"]), search(PICTURES["9"]))
    with pytest.raises(ImageError, match="holds no pixel"):
        pipeline.embed(image, np.array([[5.0, 5, 5, 9]]))
    with pytest.raises(ImageError, match=r"shape \[N, 4\]"):
        pipeline.embed(image, np.zeros(4))


@pytest.mark.parametrize("top", [0, 1, 7, 70, 1000])
def test_top_takes_the_best_whatever_their_score(mode, top):
    pipeline, search = gpu_pipeline(mode), reference(mode)
    for _ in range(3):
        assert_same(pipeline.search(PICTURES["9"], top=top), search(PICTURES["9"], top=top))
        assert_same(pipeline.search(noise(*CANVAS), top=top), search(noise(*CANVAS), top=top))


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_plan_may_be_a_chain_of_an_engine_and_a_kernel(seed, graphs):
    pipeline, search = gpu_pipeline("net", seed, graphs=graphs, kernel=True), reference("net")
    for _ in range(3):
        for name in ("8", "65", "nobody", "one"):
            assert_same(pipeline.search(PICTURES[name]), search(PICTURES[name]), embeddings=1e-6)
    pipeline.close()


def test_results_stay_as_they_are_when_the_next_picture_comes(mode, wanted):
    pipeline = gpu_pipeline(mode)
    first = pipeline.search(PICTURES["8"])
    pipeline.search(PICTURES["portrait"])
    assert_same(first, wanted["8"])


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), "x"])
def test_what_is_no_picture_is_refused_and_the_next_one_is_searched(image):
    pipeline = gpu_pipeline("box")
    with pytest.raises(ImageError):
        pipeline.search(image)
    assert len(pipeline.search(PICTURES["8"])) == 8
