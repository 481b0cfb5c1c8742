"""What is captured, captured again, and launched without a graph."""

import logging

import pytest

from mgts_trt.bundle.recipe import Profile, batch_sizes
from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu.graphs import GraphPolicy, Graphs
from tests.helpers.gpu_networks import Context, assert_same, gpu_pipeline, reference, scene
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_graph import SimulatedGraph


@pytest.fixture
def launches(monkeypatch):
    """The number of operations of each graph that is launched."""
    seen, launch = [], SimulatedGraph.launch

    def counting(self, stream):
        seen.append([node.name.split(" on ")[0] for node in self._nodes])
        launch(self, stream)

    monkeypatch.setattr(SimulatedGraph, "launch", counting)
    return seen


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        ((1, 8, 64), (1, 2, 4, 8, 16, 32, 64)),
        ((1, 1, 1), (1,)),
        ((3, 4, 20), (4, 8, 16, 20)),
        ((1, 8, 100), (1, 2, 4, 8, 16, 32, 64, 100)),
    ],
)
def test_batch_sizes_are_powers_of_two_within_the_profile(profile, sizes):
    low, opt, high = profile
    assert batch_sizes(Profile(min=low, opt=opt, max=high)) == sizes


@pytest.mark.parametrize(("fused", "tail"), [(False, []), (True, ["head_squeeze_f32", "head_embed_f32"])])
def test_a_graph_is_an_engines_run_from_the_third_picture_on(launches, fused, tail):
    pipeline = gpu_pipeline("net", fused=fused)
    pipeline.search(scene(5))
    assert launches == []
    reid = "headless" if fused else "mgts"
    for _ in range(2):
        launches.clear()
        pipeline.search(scene(5))
        assert launches == [["detector"], ["masknet"], [reid, *tail]]


def test_graphs_do_not_depend_on_the_picture_but_on_the_batch(launches):
    pipeline = gpu_pipeline("box")
    for people, scale in ((8, 1), (5, 3), (7, 1)):
        pipeline.search(scene(people, seed=people, scale=scale))
    assert launches[-2:] == [["detector"], ["mgts"]]
    launches.clear()
    pipeline.search(scene(3))
    assert launches == [["detector"]]


def test_graphs_are_captured_again_when_a_buffer_moves(launches):
    pipeline, search = gpu_pipeline("net"), reference("net")
    for _ in range(3):
        pipeline.search(scene(3))
    launches.clear()
    # A larger batch takes larger buffers, to which the smaller one's context moves with them.
    for people in (20, 3, 3, 3):
        assert_same(pipeline.search(scene(people)), search(scene(people)))
    assert [names for names in launches if names == ["mgts"]] == [["mgts"]] * 2


def test_an_old_graph_would_be_found_out(monkeypatch):
    run = Graphs.run
    monkeypatch.setattr(Graphs, "run", lambda self, model, batch, addresses, work: run(self, model, batch, (), work))
    pipeline = gpu_pipeline("box")
    for people in (3, 3, 20):
        pipeline.search(scene(people))
    with pytest.raises(AssertionError, match="was freed"):
        pipeline.search(scene(3))


def test_no_graphs_are_made_when_they_are_switched_off(launches):
    pipeline = gpu_pipeline("net", graphs=False)
    for _ in range(3):
        pipeline.search(scene(5))
    assert launches == []
    assert pipeline.graph_refusals == {}


def test_a_plan_that_cannot_be_captured_is_launched_plainly_for_good(monkeypatch, launches, caplog):
    enqueue, captures = Context.enqueue, []

    def refuses(self, stream):
        if self.engine.name == "masknet" and self.engine.device.wrap_stream(stream).capture is not None:
            captures.append(self)
            raise BackendError("operation not permitted when stream is capturing")
        enqueue(self, stream)

    monkeypatch.setattr(Context, "enqueue", refuses)
    pipeline, search = gpu_pipeline("net"), reference("net")
    with caplog.at_level(logging.WARNING):
        for people in (5, 6, 7, 8, 8):
            assert_same(pipeline.search(scene(people)), search(scene(people)))
        # Another slot need not try.
        list(pipeline.stream([scene(5)] * 4, depth=3, top=None, errors="raise"))
    assert len(captures) == 1
    assert ["masknet"] not in launches
    assert ["detector"] in launches
    assert pipeline.graph_refusals == {"masknet": "operation not permitted when stream is capturing"}
    assert caplog.text.count("masknet are launched without a CUDA graph") == 1


def test_what_fails_outside_a_capture_is_not_hidden():
    device = SimulatedDevice()
    policy = GraphPolicy()
    graphs = Graphs(device, device.stream(), policy)

    def fails():
        raise BackendError("illegal address")

    with pytest.raises(BackendError, match="illegal address"):
        graphs.run("mgts", 1, (), fails)
    assert policy.refusals == {}
