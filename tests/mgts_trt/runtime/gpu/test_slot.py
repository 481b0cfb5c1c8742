"""Several pictures in one run of the networks: what is found in each is what is found in it alone, bit for bit."""

import itertools

import numpy as np
import pytest

from mgts_trt.choices import MODES
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.stream import ReadAhead
from tests.helpers.gpu_networks import Context, assert_same, engine, gpu_pipeline, noise, reference, scene

MOST = 4
PICTURES = [scene(people, seed=people, scale=1 + people % 3) for people in (3, 0, 9, 66, 1, 12)] + [noise(90, 40)]


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def wanted(mode):
    search = reference(mode)
    return [search(image) for image in PICTURES]


def pipeline_of(mode, seed=0, **options):
    return gpu_pipeline(mode, seed, **{"pictures": MOST, "batch_size": MOST, **options})


def batch(pipeline, images, errors="raise", top=None):
    return pipeline.batch(images, top=top, errors=errors)


def runs(monkeypatch):
    """Of each run outside a graph: the network, and for how many pictures."""
    seen = []
    plain = Context.enqueue

    def watched(self, stream):
        if "image" in self.inputs:
            seen.append((self.engine.name, self.shape("image")[0]))
        plain(self, stream)

    monkeypatch.setattr(Context, "enqueue", watched)
    return seen


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_pictures_together_have_the_people_each_has_alone(mode, wanted, count, graphs):
    pipeline = pipeline_of(mode, seed=count, graphs=graphs)
    # Three times: launched, captured, and launched from the graph.
    for _ in range(3):
        for first in range(len(PICTURES) - count + 1):
            some = slice(first, first + count)
            for got, expected in zip(batch(pipeline, PICTURES[some]), wanted[some], strict=True):
                assert_same(got, expected)
        assert_same(pipeline.search(PICTURES[2]), wanted[2])
    assert pipeline.graph_refusals == {}
    pipeline.close()


@pytest.mark.parametrize("graphs", [True, False])
def test_people_of_all_pictures_share_the_batches_of_a_chain(graphs):
    pipeline, search = pipeline_of("net", kernel=True, graphs=graphs), reference("net")
    for _ in range(3):
        for got, image in zip(batch(pipeline, PICTURES), PICTURES, strict=True):
            assert_same(got, search(image), embeddings=1e-6)


@pytest.mark.parametrize(("people", "batches"), [(None, [32]), (20, [20, 8]), (6, [6, 6, 6, 6, 4])])
def test_re_id_runs_on_the_people_of_all_pictures(monkeypatch, people, batches):
    pipeline, search = pipeline_of("box", graphs=False, max_people=people), reference("box")
    images, seen, plain = [scene(count, seed=count) for count in (9, 0, 12, 7)], [], Context.enqueue

    def watched(self, stream):
        if "image" not in self.inputs:
            seen.append(self.shape("original")[0])
        plain(self, stream)

    monkeypatch.setattr(Context, "enqueue", watched)
    for got, image in zip(batch(pipeline, images), images, strict=True):
        assert_same(got, search(image))
    assert seen == batches


def test_fewer_pictures_run_in_the_smallest_size_that_holds_them(monkeypatch):
    seen = runs(monkeypatch)
    pipeline = pipeline_of("net", pictures=6, batch_size=6, graphs=False)
    for count, size in ((1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6)):
        seen.clear()
        batch(pipeline, PICTURES[:count])
        assert seen == [("detector", size), ("masknet", size)]
    seen.clear()
    batch(pipeline, PICTURES)
    assert [size for name, size in seen if name == "detector"] == [6, 1]


@pytest.mark.parametrize(("detector", "masknet", "asked", "together"), [(4, 2, 4, 2), (1, 4, 4, 1), (4, 4, 3, 3)])
def test_the_least_of_the_plans_and_what_was_asked_for_bounds_it(monkeypatch, detector, masknet, asked, together):
    seen = runs(monkeypatch)
    plans = {"detector": detector, "masknet": masknet}
    monkeypatch.setattr(
        "tests.helpers.gpu_networks.engine",
        lambda device, model, people, _: engine(device, model, people, plans.get(model, 1)),
    )
    pipeline, search = gpu_pipeline("net", batch_size=asked, graphs=False), reference("net")
    for got, image in zip(batch(pipeline, PICTURES[:4]), PICTURES, strict=False):
        assert_same(got, search(image))
    assert max(size for _, size in seen) == together


@pytest.mark.parametrize("broken", [[1], [0, 2], [0, 1, 2, 3], [5]])
def test_a_broken_picture_costs_itself(wanted, mode, broken):
    pipeline = pipeline_of(mode)
    bad = itertools.cycle(["no picture", np.zeros((3, 3)), np.zeros((0, 4, 3), np.uint8)])
    images = [next(bad) if place in broken else image for place, image in enumerate(PICTURES)]
    for place, got in enumerate(batch(pipeline, images, errors="return")):
        if place in broken:
            assert isinstance(got, ImageError)
        else:
            assert_same(got, wanted[place])
    with pytest.raises(ImageError):
        batch(pipeline, images)
    for got, expected in zip(batch(pipeline, PICTURES), wanted, strict=True):
        assert_same(got, expected)


def test_pictures_may_lie_on_the_device(mode, wanted):
    pipeline = pipeline_of(mode)
    device = pipeline.device
    queue, there = device.stream(), []
    for image in PICTURES[:MOST]:
        there.append(device.array(image.shape, image.dtype, queue))
        device.copy(there[-1], image, queue)
    wrong = device.array((4, 4), np.uint8, queue)
    mixed = [there[0].on(queue), PICTURES[1], wrong, there[3].on(queue)]
    for _ in range(3):
        for got, expected in zip(batch(pipeline, [each.on(queue) for each in there]), wanted, strict=False):
            assert_same(got, expected)
        first, second, third, fourth = batch(pipeline, mixed, errors="return")
        assert isinstance(third, ImageError)
        for got, place in ((first, 0), (second, 1), (fourth, 3)):
            assert_same(got, wanted[place])


def test_what_fails_on_the_device_costs_the_pictures_it_ran_for(monkeypatch):
    pipeline, search = pipeline_of("box", graphs=False), reference("box")
    plain, calls = Context.enqueue, []

    def failing(self, stream):
        calls.append(self.engine.name)
        if calls.count("detector") == 1 and self.engine.name == "detector":
            raise BackendError("out of memory")
        plain(self, stream)

    monkeypatch.setattr(Context, "enqueue", failing)
    found = batch(pipeline, PICTURES, errors="return")
    assert [isinstance(each, BackendError) for each in found] == [True] * MOST + [False] * (len(PICTURES) - MOST)
    for got, image in zip(found[MOST:], PICTURES[MOST:], strict=True):
        assert_same(got, search(image))


@pytest.mark.parametrize("top", [0, 1, 70])
def test_top_takes_the_best_of_each_picture(mode, top):
    pipeline, search = pipeline_of(mode), reference(mode)
    for got, image in zip(batch(pipeline, PICTURES[:3], top=top), PICTURES, strict=False):
        assert_same(got, search(image, top=top))


def test_of_an_iterator_no_more_is_read_than_is_searched_together_and_of_a_stream_one_by_one(monkeypatch):
    seen, read = runs(monkeypatch), []
    pipeline = pipeline_of("box", graphs=False)
    source = (read.append(place) or image for place, image in enumerate(PICTURES))
    results = pipeline.stream(source, depth=1, top=None, errors="raise")
    next(results)
    assert (read, seen) == ([0], [("detector", 1)])
    results.close()
    seen.clear()
    assert len(batch(pipeline, iter(PICTURES))) == len(PICTURES)
    assert [size for _, size in seen] == [4, 4]


def test_a_stream_of_what_is_there_already_takes_it_together(monkeypatch, wanted, mode):
    seen = runs(monkeypatch)
    pipeline = pipeline_of(mode, graphs=False)
    results = pipeline.stream(PICTURES, depth=2, top=None, errors="raise")
    for got, expected in zip(results, wanted, strict=True):
        assert_same(got, expected)
    assert [size for name, size in seen if name == MODELS_OF_MODE[mode][0]] == [4, 4]


class InTurns(ReadAhead):
    """Pictures of which so many are ready each time."""

    def __init__(self, images, groups):
        self.images, self.left, self.groups = iter(images), 0, iter(groups)

    def ready(self):
        return self.left > 0

    def __next__(self):
        if not self.left:
            self.left = next(self.groups)
        self.left -= 1
        return next(self.images)


def test_a_stream_of_what_is_read_ahead_takes_what_is_ready(monkeypatch, wanted, mode):
    seen = runs(monkeypatch)
    pipeline = pipeline_of(mode, graphs=False)
    source = InTurns(PICTURES, [1, 4, 2])
    for got, expected in zip(pipeline.stream(source, depth=2, top=None, errors="raise"), wanted, strict=True):
        assert_same(got, expected)
    assert [size for name, size in seen if name == MODELS_OF_MODE[mode][0]] == [1, 4, 2]


def test_timings_are_a_picture_s_share():
    pipeline = pipeline_of("net")
    alone = pipeline.search(PICTURES[0])
    for people in batch(pipeline, PICTURES[:MOST]):
        assert list(people.timings) == list(alone.timings)
    first, *others = batch(pipeline, PICTURES[:MOST])
    assert all(people.timings == first.timings for people in others)


def test_results_stay_as_they_are_when_the_next_pictures_come(mode, wanted):
    pipeline = pipeline_of(mode)
    found = batch(pipeline, PICTURES[:MOST])
    batch(pipeline, PICTURES[3:])
    for got, expected in zip(found, wanted, strict=False):
        assert_same(got, expected)
