"""The loop and its schedules."""

import csv
import itertools
import math
import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
import cv2
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mgts_trt.errors import MgtsError
from tests.helpers.toy_task import (
    COOLDOWN,
    COSINE,
    LENGTH,
    STEPS,
    ToyTask,
    assert_same_state,
    die_at_call,
    die_at_file,
    die_in_third_save,
    run,
    state,
    work,
)
from training import loop
from training.checkpoint import CheckpointError, load_checkpoint
from training.log import LogError, plot_losses
from training.loop import Amp, Step, TrainingError
from training.losses.oim import OIM
from training.schedule import Schedule, ScheduleError, load_schedule


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Drawing takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "plot_losses", lambda log, picture: picture.touch())
        yield


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(out: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(out)]


@pytest.fixture(scope="module", params=["steps", "cosine"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Schedule]:
    torch.set_num_threads(1)
    schedule = {"steps": STEPS, "cosine": COSINE}[request.param]
    out = tmp_path_factory.mktemp(request.param)
    assert run(out, schedule) == out / "idnet.safetensors"
    return out, schedule


def assert_same_run(out: Path, undisturbed: Path) -> None:
    assert_same_state(out, undisturbed)
    ours, theirs = (load_file(folder / "idnet.safetensors") for folder in (out, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert without_seconds(out) == without_seconds(undisturbed)
    assert [int(row["iteration"]) for row in rows(out)] == list(range(LENGTH))
    assert sorted(file.name for file in out.iterdir()) == ["idnet.safetensors", "log.csv", "loss.png", "state.pt"]


def in_child(out: Path, schedule: Schedule, arm: Callable[[], None] | None = None) -> bool:
    """Run in a process of its own, which `arm` may kill; returns whether it came to its end."""
    # Forked off a server that has imported everything and computed nothing: this process has used autograd, whose
    # threads do not survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.toy_task"])
    child = context.Process(target=work, args=(out, schedule, arm))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


class TestKilled:
    def test_at_random_moments(self, undisturbed: tuple[Path, Schedule], tmp_path: Path) -> None:
        reference, schedule = undisturbed
        rng, kills = random.Random(7), 0
        while not in_child(tmp_path, schedule, partial(die_at_call, rng.randint(1, 4000 + 2000 * kills))):
            kills += 1
        assert kills > 0
        assert_same_run(tmp_path, reference)

    def test_at_every_change_to_a_file(self, undisturbed: tuple[Path, Schedule], tmp_path: Path) -> None:
        reference, schedule = undisturbed
        run(tmp_path / "begun", schedule, stop_at=LENGTH - 1)
        for number in itertools.count(1):
            out = tmp_path / str(number)
            shutil.copytree(tmp_path / "begun", out)
            finished = in_child(out, schedule, partial(die_at_file, number, out))
            run(out, schedule)
            assert_same_run(out, reference)
            if finished:
                break
        assert number > 7  # log, checkpoint, weights and picture

    @pytest.mark.parametrize("moment", ["before", "half", "whole"])
    def test_while_it_writes_a_checkpoint(
        self, undisturbed: tuple[Path, Schedule], tmp_path: Path, moment: str
    ) -> None:
        reference, schedule = undisturbed
        assert not in_child(tmp_path, schedule, partial(die_in_third_save, moment))
        assert state(tmp_path)["iteration"] == 6
        assert len(rows(tmp_path)) == 9
        run(tmp_path, schedule)
        assert_same_run(tmp_path, reference)

    def test_while_it_writes_the_log(self, undisturbed: tuple[Path, Schedule], tmp_path: Path) -> None:
        reference, schedule = undisturbed
        run(tmp_path, schedule, stop_at=7)
        with (tmp_path / "log.csv").open("a") as file:
            file.write("7,0.1,2.5,2.5,0.01,0.010\n8,0.1,2.")
        run(tmp_path, schedule)
        assert_same_run(tmp_path, reference)


@pytest.mark.parametrize("cut", [1, 8, 9, LENGTH])
def test_resuming_across_a_step_of_the_learning_rate(
    undisturbed: tuple[Path, Schedule], tmp_path: Path, cut: int
) -> None:
    reference, schedule = undisturbed
    assert (run(tmp_path, schedule, stop_at=cut) is None) == (cut < LENGTH)
    assert len(rows(tmp_path)) == cut
    run(tmp_path, schedule, workers=4)
    assert_same_run(tmp_path, reference)


def test_log_tells_losses_and_rates(undisturbed: tuple[Path, Schedule]) -> None:
    out, schedule = undisturbed
    for i, row in enumerate(rows(out)):
        assert list(row) == ["iteration", "lr", "loss", "oim", "size", "seconds"]
        assert float(row["lr"]) == pytest.approx(schedule.learning_rate(i), rel=1e-6)
        assert float(row["loss"]) == pytest.approx(float(row["oim"]) + float(row["size"]), rel=1e-4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(
    undisturbed: tuple[Path, Schedule], tmp_path: Path, number: signal.Signals
) -> None:
    reference, schedule = undisturbed
    before = signal.getsignal(number)

    def on_step(step: Step) -> None:
        if step.iteration == 11:
            signal.raise_signal(number)

    assert run(tmp_path, schedule, on_step=on_step) is None
    assert signal.getsignal(number) is before
    assert state(tmp_path)["iteration"] == 12
    run(tmp_path, schedule)
    assert_same_run(tmp_path, reference)


def test_an_ignored_signal_does_not_end_the_run(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(tmp_path, on_step=lambda step: signal.raise_signal(signal.SIGINT)) == tmp_path / "idnet.safetensors"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    def on_step(step: Step) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_step=on_step)
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_resumes_too(tmp_path: Path, amp: Amp) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, amp=amp)
    run(parts, amp=amp, stop_at=9)
    run(parts, amp=amp)
    assert_same_run(parts, whole)
    assert bool(state(whole)["scaler"]) == (amp == "fp16")
    run(tmp_path / "full")
    assert without_seconds(whole) != without_seconds(tmp_path / "full")


def test_the_callers_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    run(tmp_path, stop_at=3)
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_matters(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(tmp_path / str(seed), seed=seed, stop_at=4)
    assert without_seconds(tmp_path / "0") != without_seconds(tmp_path / "1")


def test_averaged_weights_are_the_result(tmp_path: Path) -> None:
    """The average of the weights after each iteration, by its definition."""
    task, expected = ToyTask(), {}

    def on_step(step: Step) -> None:
        for key, value in task.modules["network"].state_dict().items():
            if step.iteration == 0 or not value.is_floating_point():
                expected[key] = value.double() if value.is_floating_point() else value.clone()
            else:
                expected[key] = 0.9 * expected[key] + 0.1 * value.double()

    weights = run(tmp_path, COSINE, task, on_step=on_step)
    network = ToyTask().modules["network"]
    load_checkpoint(weights, network, model="idnet", preset="tiny")
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[key], atol=1e-6, rtol=1e-5)
    assert not torch.equal(network[0].weight, task.modules["network"][0].weight)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """Plain SGD moves the weights by lr times the gradient, whose norm is bounded."""
    schedule = STEPS.model_copy(update={"clip": 1e-3, "momentum": 0.0, "weight_decay": 0.0})
    task = ToyTask()
    before = [parameter.detach().clone() for parameter in task.parameters()]
    run(tmp_path, schedule, task, stop_at=1)
    moved = math.hypot(*((a - b).norm().item() for a, b in zip(task.parameters(), before, strict=True)))
    assert moved == pytest.approx(0.1 * 1e-3, rel=1e-3)


class Failing(ToyTask):
    """Its loss is not a number in one iteration."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        losses = super().losses(batch)
        self.count = getattr(self, "count", 0) + 1
        return {**losses, "size": losses["size"] * (math.nan if self.count == 8 else 1)}


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"iteration 7 is not finite \(.*nan.*of iteration 5\. Lower the") as caught:
        run(tmp_path, task=Failing())
    assert isinstance(caught.value, MgtsError)
    assert state(tmp_path)["iteration"] == 5
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        run(tmp_path, task=Failing(), checkpoint_every=100, fresh=True)


class Unreadable(ToyTask):
    def batch(self, iteration: int) -> Any:
        if iteration == 6:
            raise MgtsError("a picture is missing")
        return super().batch(iteration)


def test_an_error_in_a_batch_is_told(tmp_path: Path) -> None:
    with pytest.raises(MgtsError, match="a picture is missing"):
        run(tmp_path, task=Unreadable())
    assert state(tmp_path)["iteration"] == 5


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 5}, "seed 0 there, 5 now"),
        ({"model": "mgts"}, "model 'idnet' there, 'mgts' now"),
        ({"schedule": STEPS.model_copy(update={"lr": 0.2})}, r"lr 0\.1 there, 0\.2 now"),
        ({"settings": {"mode": "box"}}, "mode None there, 'box' now"),
    ],
)
def test_a_run_with_other_settings_is_not_gone_on_with(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    run(tmp_path, stop_at=2)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TrainingError, match=says):
        run(tmp_path, **changed)
    assert (tmp_path / "state.pt").read_bytes() == before
    run(tmp_path, **changed, fresh=True, stop_at=1)
    assert len(rows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("first", "longer"),
    [
        (STEPS.model_copy(update={"length": 7, "milestones": ()}), STEPS),
        (STEPS.model_copy(update={"length": 200, "milestones": (8, 150)}), STEPS),
        (COOLDOWN.model_copy(update={"length": 200}), COOLDOWN),
        (COOLDOWN.of_length(14), COOLDOWN),
    ],
)
def test_the_course_ahead_may_change(tmp_path: Path, first: Schedule, longer: Schedule) -> None:
    run(tmp_path / "once", longer)
    run(tmp_path / "twice", first, stop_at=7)
    run(tmp_path / "twice", longer)
    assert_same_run(tmp_path / "twice", tmp_path / "once")


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        (STEPS, STEPS.model_copy(update={"milestones": (6,)}), r"milestones \[8\] there, \[6\] now"),
        (COSINE, COSINE.model_copy(update={"length": 30}), "length 24 there, 30 now"),
        (COOLDOWN, COOLDOWN.of_length(8), "length 24 there, 8 now"),
        (STEPS, STEPS.model_copy(update={"length": 6, "milestones": ()}), "length 24 there, 6 now"),
        (STEPS, STEPS.model_copy(update={"length": 30, "momentum": 0.5}), r"momentum 0\.9 there, 0\.5 now"),
    ],
)
def test_the_course_behind_may_not(tmp_path: Path, first: Schedule, then: Schedule, says: str) -> None:
    run(tmp_path, first, stop_at=7)
    with pytest.raises(TrainingError, match=says):
        run(tmp_path, then)


@pytest.mark.parametrize("schedule", [STEPS, COSINE])
def test_every_checkpoint_leaves_the_outcome_so_far(tmp_path: Path, schedule: Schedule) -> None:
    run(tmp_path / "ended", schedule, stop_at=10)
    expected, seen = load_file(tmp_path / "ended" / "idnet.safetensors"), []

    def on_step(step: Step) -> None:
        if step.iteration == 11:  # the last checkpoint is of ten iterations
            seen.append(load_file(tmp_path / "goes_on" / "idnet.safetensors"))

    assert run(tmp_path / "goes_on", schedule, on_step=on_step, stop_at=13) is None
    assert seen[0].keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in seen[0].items())
    last = load_file(tmp_path / "goes_on" / "idnet.safetensors")
    assert not torch.equal(last["0.weight"], expected["0.weight"])


@pytest.mark.parametrize("left", [0, 100, -50])
def test_a_damaged_state(tmp_path: Path, left: int) -> None:
    run(tmp_path, stop_at=2)
    path = tmp_path / "state.pt"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(CheckpointError, match=r"state\.pt is no readable training state"):
        run(tmp_path)


def test_a_state_of_another_network(tmp_path: Path) -> None:
    run(tmp_path, stop_at=2)
    task = ToyTask()
    task.modules["oim"] = OIM(6, 4, queue=7)
    with pytest.raises(CheckpointError, match="does not fit this network and data"):
        run(tmp_path, task=task)


def test_a_log_that_does_not_belong_to_the_state(tmp_path: Path) -> None:
    run(tmp_path, stop_at=5)
    path = tmp_path / "log.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(LogError, match=r"ends with iteration 2, but .* goes on with 5"):
        run(tmp_path)
    path.unlink()
    run(tmp_path, stop_at=10)
    run(tmp_path, stop_at=12)
    assert [int(row["iteration"]) for row in rows(tmp_path)] == list(range(5, 12))


class Renaming(ToyTask):
    def losses(self, batch: Any) -> dict[str, Tensor]:
        self.count = getattr(self, "count", 0) + 1
        return {f"{key}{self.count // 3}": value for key, value in super().losses(batch).items()}


def test_losses_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="Iteration 2 has the losses"):
        run(tmp_path, task=Renaming())


def test_draws_the_losses(undisturbed: tuple[Path, Schedule], tmp_path: Path) -> None:
    plot_losses(undisturbed[0] / "log.csv", tmp_path / "loss.png")
    pixels = cv2.imread(str(tmp_path / "loss.png"))
    assert pixels.shape == (540, 960, 3)
    assert 0.01 < (pixels < 128).any(axis=2).mean() < 0.5
    (tmp_path / "empty.csv").touch()
    plot_losses(tmp_path / "empty.csv", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_trains_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "plot_losses", plot_losses)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(tmp_path, stop_at=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["idnet.safetensors", "log.csv", "state.pt"]


@pytest.mark.parametrize("options", [{"checkpoint_every": 0}, {"workers": 0}, {"seed": -1}])
def test_senseless_options(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(TrainingError, match="must be at least 1"):
        run(tmp_path, **options)


def test_batches_come_in_order_and_end() -> None:
    class Numbers:
        def batch(self, iteration: int) -> int:
            time.sleep(random.Random(iteration).uniform(0, 0.005))
            return iteration

    with loop._prefetch(Numbers(), 3, 20, 4) as batches:
        assert list(batches) == list(range(3, 20))


@pytest.mark.parametrize(
    ("part", "iteration", "lr"),
    [
        ("detector", 0, 1e-3),
        ("detector", 59_999, 1e-3),
        ("detector", 60_000, 1e-4),
        ("detector", 80_000, 1e-5),
        ("detector", 99_999, 1e-5),
        ("reid", 11 * 70 - 1, 1e-3),
        ("reid", 11 * 70, 1e-4),
        ("reid", 15 * 70 - 1, 1e-4),
    ],
)
def test_the_papers_schedules(part: str, iteration: int, lr: float) -> None:
    schedule = load_schedule("paper", part).in_iterations(70)
    assert schedule.learning_rate(iteration) == pytest.approx(lr)


def test_the_papers_sizes() -> None:
    assert load_schedule("paper", "detector").length == 100_000
    assert load_schedule("paper", "detector").batch_size == 1
    assert load_schedule("paper", "reid").batch_size == 128
    assert load_schedule("paper", "reid").in_iterations(70).length == 15 * 70
    optimizer = load_schedule("paper", "detector").create_optimizer([nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.SGD)
    assert (optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]) == (0.9, 5e-4)


@pytest.mark.parametrize("part", ["detector", "masknet", "reid"])
def test_edge_warms_up_and_fades_out(part: str) -> None:
    schedule = load_schedule("edge", part)
    rates = [schedule.learning_rate(i) for i in range(schedule.length)]
    peak = schedule.warmup
    assert max(rates) == pytest.approx(schedule.lr)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 1e-3 * schedule.lr


def test_a_cool_down_may_begin_at_any_time() -> None:
    whole = load_schedule("real", "detector")
    assert [whole.learning_rate(i) for i in (whole.warmup, 3_999, 4_000)] == [whole.lr] * 3
    for done in (101, 1_234, 3_000):
        ended = whole.of_length(round(1.25 * done))
        assert ended.goes_on_from(whole.model_dump(), done)
        assert not ended.goes_on_from(whole.model_dump(), done + 2)
        rates = [ended.learning_rate(i) for i in range(done, ended.length)]
        assert rates == sorted(rates, reverse=True)
        assert 0 < rates[-1] < 0.05 * whole.lr
        assert rates[len(rates) // 2] == pytest.approx(0.5 * whole.lr, rel=0.05)
    assert [whole.of_length(10).learning_rate(i) for i in (0, 9)] == pytest.approx([whole.lr, whole.lr / 2])


@pytest.mark.parametrize("name", ["paper", "edge"])
@pytest.mark.parametrize("length", [20, 1000])
def test_shorter_schedules_keep_their_course(name: str, length: int) -> None:
    whole = load_schedule(name, "detector")
    short = whole.of_length(length)
    assert short.length == length
    for share in (0.0, 0.3, 0.65, 0.9):
        a, b = (s.learning_rate(int(share * s.length)) for s in (short, whole))
        assert a == pytest.approx(b, abs=0.06 * whole.lr) or share == 0.0


def test_a_schedule_too_short_for_its_milestones() -> None:
    with pytest.raises(ScheduleError, match="1 iterations are too few"):
        load_schedule("paper", "detector").of_length(1)


def test_epochs_must_be_counted_first() -> None:
    schedule = load_schedule("paper", "reid")
    for ask in (lambda: schedule.learning_rate(0), lambda: schedule.of_length(5)):
        with pytest.raises(ScheduleError, match="counts 15 epochs"):
            ask()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[detector]\nlength = 3", "malformed"),
        ("[reid]\n", r"has no part \[detector\]; it has reid"),
        ("", "it has none"),
        ("[detector", "malformed"),
        ('[detector]\nbatch_size=1\nlength=9\noptimizer="adam"\nlr=1\nweight_decay=0\ndecay="steps"', "adamw"),
        (
            '[detector]\nbatch_size=1\nlength=9\noptimizer="sgd"\nlr=1\nweight_decay=0\ndecay="steps"\nmilestones=[9]',
            "milestones must rise",
        ),
        (
            '[detector]\nbatch_size=1\nlength=9\noptimizer="sgd"\nlr=1\nweight_decay=0\ndecay="cosine"\nmilestones=[3]',
            "belong to decay",
        ),
        (
            '[detector]\nbatch_size=1\nlength=9\noptimizer="sgd"\nlr=1\nweight_decay=0\ndecay="cosine"\nwarmup=9',
            "warmup must be shorter",
        ),
        (
            '[detector]\nbatch_size=1\nlength=9\noptimizer="sgd"\nlr=1\nweight_decay=0\ndecay="cooldown"\ncooldown=0',
            "malformed .*cooldown",
        ),
    ],
)
def test_malformed_schedules(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ScheduleError, match=says) as caught:
        load_schedule(str(path), "detector")
    assert "own.toml" in str(caught.value)


def test_unknown_schedules() -> None:
    with pytest.raises(ScheduleError, match="no schedule 'gone'; there are crops, edge, fine, paper, real"):
        load_schedule("gone", "detector")
