"""Chains on the simulated device: engines are functions, and overwrite their workspaces, and kernels their scratch."""

import math
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError
from mgts_trt.plans.chain import Chain, EngineStep, OperatorStep
from mgts_trt.runtime.cuda.launch import Launch
from mgts_trt.runtime.gpu.graphs import GraphPolicy, Graphs
from mgts_trt.runtime.session import engine_chain as chain_module
from mgts_trt.runtime.session.engine_chain import EngineChain
from mgts_trt.runtime.session.workspace_layout import Layout
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_engine import SimulatedContext, SimulatedEngine

MOST = 8
PROFILE = {"N": Profile(min=1, opt=2, max=MOST)}


def spec(*shape, dtype="float32"):
    return TensorSpec(dtype=dtype, shape=shape)


def mean(arrays):
    return np.float32(sum(np.float32(array.mean()) for array in arrays))


def compute(number, output, shape, arrays):
    """What step `number` makes of its inputs: each element tells where it is, and of all inputs."""
    ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 64
    return {name: ramp * np.float32(number + 1) + mean(arrays) + np.float32(i) for i, name in enumerate(output)}


class Kernel:
    """An operator of two launches: the mean of each input into the scratch, then the output from there."""

    def __init__(self, number):
        self.number = number

    def scratch_bytes(self, inputs):
        if any(each.dtype != "float32" for each in inputs):
            raise BackendError("The kernel takes float32 alone.")
        return 4 * len(inputs)

    def launches(self, inputs, outputs, scratch):
        assert all(each.pointer.address % 256 == 0 for each in (*inputs, *outputs))
        [output] = outputs
        shape = [np.int32(size) for size in output.shape]
        for i, each in enumerate(inputs):
            size, there = np.int32(np.prod(each.shape)), np.int32(i)
            yield Launch("mean", "", (1, 1, 1), (1, 1, 1), 0, (each.pointer, size, there, scratch))
        last = (scratch, np.int32(len(inputs)), np.int32(self.number), output.pointer, *shape)
        yield Launch(f"spread_{len(shape)}", "", (1, 1, 1), (1, 1, 1), 0, last)


def register(device):
    def each(source, size, there, scratch):
        scratch.view(np.float32)[there] = source[: 4 * size].view(np.float32).mean()

    def spread(scratch, count, number, output, *shape):
        made = compute(int(number), ["it"], shape, [scratch[: 4 * count].view(np.float32)[i] for i in range(count)])
        scratch[: 4 * count] = 0xEE
        output[: made["it"].nbytes].view(np.float32)[...] = made["it"].ravel()

    def sizes(launch):
        return {0: 4 * int(launch.arguments[1]), 3: 4 * (int(launch.arguments[2]) + 1)}

    def made(launch):
        return {0: 4 * int(launch.arguments[1]), 3: 4 * math.prod(map(int, launch.arguments[4:]))}

    device.kernel("mean", each, reads=[0], writes=[3], extents=sizes)
    for rank in (1, 2, 3):
        device.kernel(f"spread_{rank}", spread, reads=[], writes=[0, 3], extents=made)


@dataclass
class Engine(SimulatedEngine):
    open_contexts: int = 0
    closed: bool = False
    has_cache: bool = False
    saved: int = 0
    weights_bytes: int = 1000

    def create_context(self):
        if self.closed:
            raise BackendError("The engine is closed.")
        self.open_contexts += 1
        return Context(self)

    def save_cache(self):
        self.saved += 1

    def close(self):
        self.closed = True


@dataclass
class Context(SimulatedContext):
    captured: bool = True

    def capturable(self, stream):
        return self.captured

    def close(self):
        self.engine.open_contexts -= 1


@dataclass
class Network:
    """A chain, and what it must give."""

    chain: Chain
    inputs: dict
    outputs: dict
    constants: dict = field(default_factory=dict)
    workspaces: list = field(default_factory=list)

    def on(self, device):
        register(device)
        engines, kernels, workspaces = [], [], iter(self.workspaces)
        for number, step in enumerate(self.chain.steps):
            if step.kind == "operator":
                kernels.append(Kernel(number))
                continue
            tensors = [{name: self.chain.tensors[name] for name in names} for names in (step.inputs, step.outputs)]
            function = lambda arrays, number=number, step=step: self._step(number, step, arrays)  # noqa: E731
            engines.append(Engine(device, step.file, function, *tensors, next(workspaces)))
        identity = SimpleNamespace(model="network")
        record = SimpleNamespace(
            inputs=self.inputs, outputs=self.outputs, profile=PROFILE, identity=identity, chain=self.chain
        )
        plan = SimpleNamespace(record=record, folder=Path("plans/network"))
        return EngineChain(plan, engines, kernels, self.constants, device)

    def run(self, inputs):
        """Its outputs, computed on the host."""
        known = {**inputs, **self.constants}
        for number, step in enumerate(self.chain.steps):
            known |= self._step(number, step, {name: known[name] for name in step.inputs})
        return {name: known[name] for name in self.outputs}

    def _step(self, number, step, arrays):
        people = next((array.shape[0] for name, array in arrays.items() if self._dynamic(name)), MOST)
        shapes = {
            tuple(people if size == "N" else size for size in self.chain.tensors[name].shape) for name in step.outputs
        }
        [shape] = shapes
        given = list(arrays.values())
        if step.kind == "operator":
            given = [array.mean() for array in given]
        return compute(number, step.outputs, shape, given)

    def _dynamic(self, name):
        return "N" in self.chain.tensors[name].shape


def random_network(seed):
    """Steps that read a few of the tensors there are; what nobody reads is an output, but for some."""
    chance = random.Random(seed)
    tensors = {"a": spec("N", 3), "b": spec(5), "k": spec(7)}
    inputs = {name: tensors[name] for name in "ab"}
    steps, workspaces = [], []
    for number in range(chance.randrange(1, 8)):
        # At least one of them has people, so that each step knows how many there are.
        dynamic = [name for name, each in tensors.items() if "N" in each.shape]
        read = dict.fromkeys([chance.choice(dynamic), *chance.sample(sorted(tensors), chance.randrange(len(tensors)))])
        shape = chance.choice([("N", 1), ("N", 70, 3), (chance.randrange(1, 300),), ("N", 130)])
        if chance.random() < 0.5:
            made = {f"t{number}.{i}": spec(*shape) for i in range(chance.randrange(1, 3))}
            read = {name: None for name in read if name != "k"} or {"a": None}
            step = EngineStep(file=f"{number}.plan", sha256="0" * 64, bytes=1, inputs=tuple(read), outputs=tuple(made))
            workspaces.append(chance.choice([0, 64, 1000, 5000]))
        else:
            made = {f"t{number}": spec(*shape)}
            step = OperatorStep(operator="Mix", node=f"n{number}", inputs=tuple(read), outputs=tuple(made))
        tensors |= made
        steps.append(step)
    made = {name: each for name, each in tensors.items() if name.startswith("t")}
    names = [name for name in made if chance.random() < 0.4] or [max(made)]
    chain = Chain(steps=tuple(steps), tensors=tensors, constants=("k",), constants_sha256="0" * 64)
    constants = {"k": np.arange(7, dtype=np.float32)}
    return Network(chain, inputs, {name: made[name] for name in names}, constants, workspaces)


def random_inputs(people, seed):
    chance = np.random.default_rng(seed)
    return {"a": chance.random((people, 3), np.float32), "b": chance.random(5, np.float32)}


class Runner:
    """A context with buffers and a workspace, run plainly or by way of CUDA graphs."""

    def __init__(self, loaded, people, *, fit=False, graphs=False):
        self.device, self.loaded, self.people = loaded.device, loaded, people
        self.stream = self.device.stream()
        self.context = loaded.create_context()
        self.context.set_shape("a", (people, 3))
        size = self.context.fit_workspace() if fit else self.context.workspace_bytes
        self.workspace = self.device.allocate(size, self.stream)
        self.context.set_workspace(self.workspace.pointer, size)
        self.graphs = Graphs(self.device, self.stream, GraphPolicy(graphs))
        self.place()

    def place(self):
        names = (*self.context.inputs, *self.context.outputs)
        self.arrays = {n: self.device.array(self.context.shape(n), np.float32, self.stream) for n in names}
        for name, array in self.arrays.items():
            self.context.bind(name, array.pointer)

    def run(self, inputs):
        for name, array in inputs.items():
            self.device.copy(self.arrays[name], array, self.stream)
        addresses = (self.workspace.pointer, *(array.pointer for array in self.arrays.values()))
        work = lambda: self.context.enqueue(self.stream)  # noqa: E731
        capturable = lambda: self.context.capturable(self.stream)  # noqa: E731
        self.graphs.run("network", self.people, addresses, work, capturable=capturable)
        out = {name: np.empty(self.arrays[name].shape, np.float32) for name in self.context.outputs}
        for name, array in out.items():
            self.device.copy(array, self.arrays[name], self.stream)
        self.stream.synchronize()
        return out

    def close(self):
        self.graphs.close()
        self.context.close()


def assert_equal(got, wanted):
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name], name)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_chain_gives_what_its_steps_give(seed, fit, graphs):
    network = random_network(seed)
    loaded = network.on(SimulatedDevice(seed))
    for people in (1, MOST):
        runner = Runner(loaded, people, fit=fit, graphs=graphs)
        for turn in range(5):
            if turn == 2:
                runner.place()  # the buffers have grown, say
            inputs = random_inputs(people, turn)
            assert_equal(runner.run(inputs), network.run(inputs))
        recorded = [each.graph for each in runner.graphs._recorded.values()]
        assert all(recorded)
        assert bool(recorded) == graphs
        runner.close()
    assert all(engine.open_contexts == 0 for engine in loaded.engines)


def test_a_wrong_layout_is_noticed(monkeypatch):
    """What the test above compares would tell of tensors that lie on one another."""
    place = chain_module.lay_out

    def crowded(rooms, alignment):
        layout = place(rooms, alignment)
        return Layout(dict.fromkeys(layout.offsets, 0), layout.size)

    monkeypatch.setattr(chain_module, "lay_out", crowded)
    wrong = 0
    for seed in range(20):
        network = random_network(seed)
        inputs, runner = random_inputs(3, 0), Runner(network.on(SimulatedDevice(seed)), 3)
        got, wanted = runner.run(inputs), network.run(inputs)
        wrong += any(not np.array_equal(got[name], wanted[name]) for name in wanted)
    assert wrong >= 10


def test_one_context_takes_turns_with_many_sizes():
    network = random_network(4)
    runner = Runner(network.on(SimulatedDevice()), MOST)
    for people in (MOST, 1, 5, MOST, 2):
        runner.context.set_shape("a", (people, 3))
        runner.place()
        inputs = random_inputs(people, people)
        assert_equal(runner.run(inputs), network.run(inputs))


def test_fitted_contexts_take_less_and_say_when_that_is_too_little():
    network = next(n for n in map(random_network, range(50)) if len(n.chain.steps) > 5)
    runner = Runner(network.on(SimulatedDevice()), 1, fit=True)
    assert runner.context.workspace_bytes < runner.loaded.workspace_bytes
    runner.context.set_shape("a", (MOST, 3))
    runner.place()
    with pytest.raises(BackendError, match="network: the workspace was fitted to other shapes"):
        runner.run(random_inputs(MOST, 0))


def test_contexts_run_in_several_threads():
    network = random_network(11)
    device = SimulatedDevice()
    loaded, runners, failures = network.on(device), [], []
    for people in (1, 2, 5, MOST):
        runners.append(Runner(loaded, people, graphs=True))

    def work(runner):
        try:
            for turn in range(5):
                inputs = random_inputs(runner.people, turn)
                assert_equal(runner.run(inputs), network.run(inputs))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(runner,)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def pipeline(*steps, tensors=(), outputs=("y",), **changes):
    """A network of `a` and `b` whose engines and operators are given as (kind, inputs, outputs)."""
    known = {"a": spec("N", 3), "b": spec(5), "h": spec("N", 4), "y": spec("N", 2), **dict(tensors)}
    made = [
        EngineStep(file=f"{number}.plan", sha256="0" * 64, bytes=1, inputs=read.split(), outputs=written.split())
        if kind == "engine"
        else OperatorStep(operator="Mix", node="n", inputs=read.split(), outputs=written.split())
        for number, (kind, read, written) in enumerate(steps)
    ]
    chain = Chain(steps=tuple(made), tensors=known, **changes)
    inputs = {name: known[name] for name in "ab"}
    return Network(chain, inputs, {name: known[name] for name in outputs}, workspaces=[100] * len(steps))


GOOD = (("engine", "a", "h"), ("operator", "h b", "g"), ("engine", "a g", "y"))
TENSORS = {"g": spec("N", 9)}


@pytest.mark.parametrize(
    ("steps", "changes", "message"),
    [
        ((("engine", "a h", "y"),), {}, "step 1 reads h, which is not there by then"),
        ((("operator", "h", "y"), ("engine", "a", "h")), {}, "step 1 reads h"),
        ((("engine", "a", "b"),), {}, "step 1 writes b, which is there already"),
        ((("engine", "a b", "h"),), {}, r"has no y float32 \[N, 2\]"),
        (GOOD, {"tensors": {"g": spec("M", 9)}}, "g has a dimension M, which no input has"),
        (GOOD, {"tensors": {**TENSORS, "h": spec("N", 4, dtype="float16")}}, "kernel takes float32 alone"),
        (GOOD, {"tensors": TENSORS, "constants": ("b",), "constants_sha256": "0" * 64}, "constants of .* b missing"),
    ],
)
def test_what_is_no_chain_is_refused(steps, changes, message):
    network = pipeline(*steps, **changes)
    with pytest.raises(BackendError, match=message):
        network.on(SimulatedDevice())


def test_an_input_of_another_type_than_the_chain_s_is_refused():
    network = pipeline(*GOOD, tensors=TENSORS)
    network.inputs = {**network.inputs, "a": spec("N", 4)}
    with pytest.raises(BackendError, match=r"plans/network is no chain: it has no a float32 \[N, 4\]. Build it again"):
        network.on(SimulatedDevice())


def test_a_context_says_what_it_lacks():
    loaded = pipeline(*GOOD, tensors=TENSORS).on(SimulatedDevice())
    context, stream = loaded.create_context(), loaded.device.stream()
    with pytest.raises(
        BackendError, match="a is not bound, b is not bound, y is not bound, a has no shape, it has no "
    ):
        context.enqueue(stream)
    assert context.shape("b") == (5,)
    for call, message in [
        (lambda: context.shape("y"), "size of y is open"),
        (lambda: context.shape("h"), "no tensor 'h'; it has a, b, y"),
        (lambda: context.bind("h", 256), "no tensor 'h'"),
        (lambda: context.bind("y", 257), "cannot lie at 0x101"),
        (lambda: context.bind("b", 260), "b cannot lie at 0x104; the kernel that uses it needs .* aligned to 256"),
        (lambda: context.set_shape("a", (MOST + 1, 3)), rf"cannot be \[{MOST + 1}, 3\]; .* N = 1…{MOST}"),
        (context.fit_workspace, "the size of a is open"),
        (lambda: context.set_workspace(256, 100), "100 bytes at 0x100"),
    ]:
        with pytest.raises(BackendError, match=message):
            call()
    context.close()
    context.close()
    context.set_shape("a", (1, 3))
    with pytest.raises(BackendError, match="context of network is closed"):
        context.fit_workspace()


def test_inputs_agree_on_the_number_of_people():
    tensors = {**TENSORS, "b": spec("N", 5)}
    context = pipeline(*GOOD, tensors=tensors).on(SimulatedDevice()).create_context()
    context.set_shape("a", (2, 3))
    context.set_shape("b", (3, 5))
    with pytest.raises(BackendError, match="N is 3 in b, and 2 in another input"):
        context.shape("y")
    context.set_shape("b", (2, 5))
    assert context.shape("y") == (2, 2)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_step_that_fails_is_told_and_the_next_run_may_work(step, monkeypatch):
    network = pipeline(*GOOD, tensors=TENSORS)
    runner, inputs = Runner(network.on(SimulatedDevice()), 3, graphs=True), random_inputs(3, 0)
    failing, launch = [True], runner.device.launch

    def fail(*arguments):
        if failing:
            raise BackendError("an illegal address")
        launch(*arguments)

    with monkeypatch.context() as patch:
        if step == 1:
            patch.setattr(runner.device, "launch", fail)
        else:
            context = runner.context._contexts[step // 2]
            patch.setattr(context, "enqueue", lambda stream: fail(None, stream))
        for _ in range(2):
            with pytest.raises(BackendError, match="an illegal address"):
                runner.run(inputs)
    failing.clear()
    for _ in range(3):
        assert_equal(runner.run(inputs), network.run(inputs))


def test_a_context_that_cannot_be_made_leaves_none_behind():
    network = pipeline(*GOOD, tensors={**TENSORS, "k": spec(7)}, constants=("k",), constants_sha256="0" * 64)
    network.constants = {"k": np.zeros(7, np.float32)}
    loaded = network.on(SimulatedDevice())
    loaded.engines[1].closed = True
    with pytest.raises(BackendError, match="engine is closed"):
        loaded.create_context()
    assert [engine.open_contexts for engine in loaded.engines] == [0, 0]
    loaded.close()
    assert not loaded.constants


def test_a_chain_can_be_captured_if_all_its_engines_can():
    loaded = pipeline(*GOOD, tensors=TENSORS).on(SimulatedDevice())
    context, stream = loaded.create_context(), loaded.device.stream()
    assert context.capturable(stream)
    context._contexts[1].captured = False
    assert not context.capturable(stream)


def test_caches_of_all_engines_are_kept():
    loaded = pipeline(*GOOD, tensors=TENSORS).on(SimulatedDevice())
    assert not loaded.has_cache
    loaded.engines[1].has_cache = True
    assert loaded.has_cache
    loaded.save_cache()
    assert [engine.saved for engine in loaded.engines] == [1, 1]


def test_constants_go_up_once_and_are_freed_with_the_last_context():
    network = next(n for n in map(random_network, range(50)) if any("k" in step.inputs for step in n.chain.steps))
    loaded = network.on(SimulatedDevice())
    [memory] = loaded.device._memories
    assert loaded.weights_bytes == 1000 * len(loaded.engines) + memory.data.size
    runners = [Runner(loaded, people) for people in (1, 2)]
    assert not loaded.closed
    loaded.close()
    assert loaded.closed
    assert all(engine.closed for engine in loaded.engines)
    with pytest.raises(BackendError, match="plan of network is closed"):
        loaded.create_context()
    for runner in runners:
        assert not memory.freed
        inputs = random_inputs(runner.people, 0)
        assert_equal(runner.run(inputs), network.run(inputs))
        runner.close()
    assert memory.freed
    assert not loaded.device._pending
