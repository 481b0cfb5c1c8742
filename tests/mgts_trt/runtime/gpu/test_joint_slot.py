"""Mode `joint` on the simulated device: what is found and described is what the host finds, bit for bit."""

import numpy as np
import pytest

from mgts_trt.errors import BackendError, ImageError
from tests.helpers.gpu_networks import CANVAS, PROBES, assert_same, gpu_pipeline, noise, reference, scene

PICTURES = [scene(people, seed=people, scale=1 + people % 3) for people in (3, 0, 66, 1)] + [noise(90, 40)]


def boxes(count, seed=0):
    corners = np.random.default_rng(seed).uniform(0, 0.6, (count, 2)) * CANVAS[::-1]
    return np.concatenate([corners, corners + np.array([9, 12])], axis=1)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("together", [1, 3])
def test_it_finds_and_describes_as_the_host_does(graphs, together):
    pipeline, search = gpu_pipeline("joint", graphs=graphs, pictures=together, batch_size=together), reference("joint")
    for _ in range(3):  # launched, captured, and launched from the graph
        for top in (None, 2):
            for got, image in zip(pipeline.batch(PICTURES, top=top, errors="raise"), PICTURES, strict=True):
                assert_same(got, search(image, top=top))
        # More boxes than places, as many, fewer, none; and none of them is left over for the next.
        for count in (2 * PROBES + 1, PROBES, 1, 0):
            assert_same(pipeline.embed(PICTURES[0], boxes(count), stream=None), search.embed(PICTURES[0], boxes(count)))
        assert_same(pipeline.search(PICTURES[3]), search(PICTURES[3]))
    assert pipeline.graph_refusals == {}
    pipeline.close()


def test_pictures_in_flight_do_not_mix():
    pipeline, search = gpu_pipeline("joint", seed=5), reference("joint")
    images = [scene(people, seed=people) for people in range(9)]
    for image, got in zip(images, pipeline.stream(images, depth=3, top=None, errors="raise"), strict=True):
        assert_same(got, search(image))


def test_another_ones_network_describes_whom_it_finds_in_a_box():
    pipeline, search = gpu_pipeline("joint", others=True), reference("joint", others=True)
    image = scene(4, seed=1)
    found = search(image)
    assert_same(pipeline.search(image), found)
    assert_same(pipeline.embed(image, found.boxes[::-1], stream=None), search.embed(image, found.boxes[::-1]))
    for way in (lambda given: pipeline.embed(image, given, stream=None), lambda given: search.embed(image, given)):
        with pytest.raises(ImageError, match="nobody it finds is where the box"):
            way(np.array([[0, 0, CANVAS[1], CANVAS[0]]]))
    # The picture that failed leaves its slot as good as before.
    assert_same(pipeline.search(image), found)


def test_memory_is_planned_and_refused():
    pipeline = gpu_pipeline("joint")
    assert "people at once" not in pipeline.memory_plan
    with pytest.raises(BackendError, match="Open it with fewer pictures_in_flight than 2, in a mode"):
        gpu_pipeline("joint", available=1000)


def test_warm_up_is_detection_in_each_batch():
    pipeline, told = gpu_pipeline("joint", pictures=4, batch_size=4), []
    pipeline.warm_up(1, lambda *step: told.append(step), lambda: False)
    assert told == [(done, 6) for done in range(1, 7)]
    assert_same(pipeline.search(PICTURES[0]), reference("joint")(PICTURES[0]))
