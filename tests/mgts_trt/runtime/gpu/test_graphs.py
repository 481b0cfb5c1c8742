"""What is captured, captured again, and launched without a graph."""

import logging
from types import SimpleNamespace

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


@pytest.mark.parametrize(("kernel", "tail"), [(False, []), (True, ["se_head_squeeze_f32", "se_head_embed"])])
def test_a_graph_is_a_plans_run_from_the_third_picture_on(launches, kernel, tail):
    pipeline = gpu_pipeline("net", kernel=kernel)
    pipeline.search(scene(5))
    assert launches == []
    reid = "headless" if kernel else "mgts"
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
    monkeypatch.setattr(
        Graphs, "run", lambda self, model, batch, addresses, work, **how: run(self, model, batch, (), work)
    )
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


@pytest.fixture
def refusing(monkeypatch):
    """The engine named in `model` refuses its next `times` captures."""
    enqueue, state = Context.enqueue, SimpleNamespace(model="masknet", times=10**9, tried=[])

    def refuses(self, stream):
        captured = self.engine.device.wrap_stream(stream).capture is not None
        if self.engine.name == state.model and captured:
            state.tried.append(self.shape(next(iter(self.inputs)))[0])
            if len(state.tried) <= state.times:
                raise BackendError("operation not permitted when stream is capturing")
        enqueue(self, stream)

    monkeypatch.setattr(Context, "enqueue", refuses)
    return state


def test_a_run_that_cannot_be_captured_is_launched_plainly_and_tried_again_ever_more_rarely(refusing, launches, caplog):
    pipeline, search = gpu_pipeline("net"), reference("net")
    attempts = []
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert_same(pipeline.search(scene(5)), search(scene(5)))
            attempts.append(len(refusing.tried))
    # The first run is plain; then two are passed over, four, eight.
    assert attempts == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4]
    assert ["masknet"] not in launches
    assert ["detector"] in launches
    assert ["mgts"] in launches
    assert pipeline.graph_refusals == {"masknet, 1 row": (4, "operation not permitted when stream is capturing")}
    assert str(pipeline.graph_refusals["masknet, 1 row"]).endswith("is capturing (4 times)")
    assert caplog.text.count("masknet, 1 row: launched without a CUDA graph") == 1


def test_slots_share_what_they_learn_of_refusals(refusing):
    pipeline = gpu_pipeline("net")
    list(pipeline.stream([scene(5)] * 9, depth=3, top=None, errors="raise"))
    assert len(refusing.tried) == 2


def test_a_refusal_costs_one_shape_alone_and_only_until_it_is_captured(refusing, launches):
    refusing.model, refusing.times = "mgts", 1
    pipeline = gpu_pipeline("box")
    for _ in range(2):
        pipeline.search(scene(3))
    assert refusing.tried == [4]
    launches.clear()
    for _ in range(3):
        pipeline.search(scene(1))
    # Another batch is captured at once, and the one that was refused after two more runs.
    assert launches.count(["mgts"]) == 2
    launches.clear()
    for _ in range(4):
        pipeline.search(scene(3))
    assert launches.count(["mgts"]) == 2
    assert pipeline.graph_refusals == {"mgts, 4 rows": (1, "operation not permitted when stream is capturing")}


def test_what_tensorrt_says_cannot_be_captured_is_not_tried(monkeypatch, refusing, launches):
    monkeypatch.setattr(Context, "capturable", lambda self, stream: self.engine.name != "masknet")
    pipeline, search = gpu_pipeline("net"), reference("net")
    for _ in range(3):
        assert_same(pipeline.search(scene(5)), search(scene(5)))
    assert refusing.tried == []
    assert ["masknet"] not in launches
    assert pipeline.graph_refusals["masknet, 1 row"].reason == "TensorRT says that this run cannot be captured."


def test_what_fails_outside_a_capture_is_not_hidden():
    device = SimulatedDevice()
    policy = GraphPolicy()
    graphs = Graphs(device, device.stream(), policy)

    def fails():
        raise BackendError("illegal address")

    with pytest.raises(BackendError, match="illegal address"):
        graphs.run("mgts", 1, (), fails)
    assert policy.refusals == {}
