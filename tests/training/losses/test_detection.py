import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import Tensor
from torch.nn import functional

from training.losses import detection
from training.losses.detection import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    Regions,
    Truth,
    assign,
    candidate_regions,
    detector_losses,
    region_losses,
    rpn_losses,
    sample,
    sample_regions,
)
from training.models import FasterRCNN, create
from training.models.detector import BOX_WEIGHTS
from training.models.rpn import decode_boxes, encode_boxes
from training.preset import Preset


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PERSON = (0, 0, 10, 10)
WIDE, HALF, LOW, FAR = (0, 0, 10, 8), (0, 0, 10, 5), (0, 0, 10, 2), (50, 50, 60, 60)
"""IoU with the person: 0.8, 0.5, 0.2 and 0."""


@pytest.mark.parametrize(
    ("anchors", "people", "ignored", "best", "labels"),
    [
        pytest.param([PERSON, FAR], [], [], True, [0, 0], id="nobody"),
        pytest.param([WIDE, HALF, LOW, FAR], [PERSON], [], True, [1, -1, 0, 0], id="by the thresholds"),
        pytest.param([HALF, LOW, FAR], [PERSON], [], True, [1, 0, 0], id="a person without an anchor takes its best"),
        pytest.param([HALF, LOW, FAR], [PERSON], [], False, [-1, 0, 0], id="proposals do not"),
        pytest.param([HALF, (0, 5, 10, 10), LOW], [PERSON], [], True, [1, 1, 0], id="of equals all"),
        pytest.param([LOW, FAR], [PERSON], [], True, [1, 0], id="its best may be poor"),
        pytest.param([FAR], [PERSON], [], True, [0], id="but not apart from it"),
        pytest.param([WIDE, FAR], [PERSON], [PERSON], True, [1, 0], id="a positive stays so on an ignored box"),
        pytest.param([LOW, FAR], [], [PERSON, FAR], True, [-1, -1], id="all ignored"),
        pytest.param([(0, 0, 20, 10), (0, 0, 21, 10)], [], [PERSON], True, [-1, 0], id="half of it, or less"),
        pytest.param([], [PERSON], [FAR], True, [], id="no anchors"),
    ],
)
def test_assignment(anchors: list, people: list, ignored: list, best: bool, labels: list[int]) -> None:
    truth = Truth(boxes(*people), boxes(*ignored))
    assignment = assign(boxes(*anchors), truth, positive=0.7, negative=0.3, best_of_each_person=best)
    assert assignment.labels.tolist() == labels
    assert assignment.matches.shape == (len(anchors),)


def test_each_box_is_matched_to_whom_it_overlaps_most() -> None:
    truth = Truth(boxes(PERSON, (5, 0, 15, 10), FAR), boxes())
    matches = assign(boxes((0, 0, 9, 10), (6, 0, 15, 10), (51, 50, 60, 60)), truth, positive=0.7, negative=0.3).matches
    assert matches.tolist() == [0, 1, 2]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), max_size=60),
    st.integers(1, 40),
    st.sampled_from([0.25, 0.5]),
    st.integers(0, 9),
)
def test_sampling(labels: list[int], count: int, share: float, seed: int) -> None:
    rows = sample(torch.tensor(labels, dtype=torch.int64), count, share, draws(seed)).tolist()
    drawn = [labels[row] for row in rows]
    positives = min(labels.count(POSITIVE), int(count * share))
    assert len(set(rows)) == len(rows)
    assert drawn.count(POSITIVE) == positives
    assert drawn.count(NEGATIVE) == min(labels.count(NEGATIVE), count - positives)
    assert drawn.count(IGNORED) == 0
    assert drawn == sorted(drawn, reverse=True)
    assert rows == sample(torch.tensor(labels, dtype=torch.int64), count, share, draws(seed)).tolist()


def test_sampling_depends_on_the_generator() -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    first, second = (sample(labels, 100, 0.5, draws(seed)).sort().values for seed in (0, 1))
    assert not torch.equal(first, second)


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), st.booleans(), st.integers(-9, 9)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 40),
    st.integers(0, 9),
)
def test_things_and_the_hardest_come_first(boxes: list[tuple[int, bool, int]], count: int, seed: int) -> None:
    labels, things, hardness = (torch.tensor(column) for column in zip(*boxes, strict=True))
    given_ = {"things": things, "hardness": hardness.float()}
    rows = sample(labels, count, 0.5, draws(seed), **given_)
    assert torch.equal(rows, sample(labels, count, 0.5, draws(seed), **given_))
    drawn = rows.tolist()
    assert len(set(drawn)) == len(drawn)
    positives = min(int((labels == POSITIVE).sum()), int(count * 0.5))
    negatives = [row for row in drawn if labels[row] == NEGATIVE]
    assert len(drawn) - len(negatives) == positives, "and nothing that is ignored"
    room, there = count - positives, (labels == NEGATIVE).nonzero().flatten().tolist()
    assert len(negatives) == min(room, len(there))
    on_them = sum(things[row].item() for row in there)
    assert sum(things[row].item() for row in negatives) >= min(on_them, int(room * detection.THINGS))
    # Whoever was left out is no harder than the hardest half of those that were not drawn as things.
    left = [hardness[row].item() for row in there if row not in negatives]
    hard = sorted((hardness[row].item() for row in negatives), reverse=True)[: int(room * detection.HARD)]
    assert not left or not hard or max(left) <= hard[-1]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param(None, [False] * 4, id="nothing known"),
        pytest.param([], [False] * 4, id="no things"),
        pytest.param([PERSON], [True, True, False, False], id="as a person would count"),
        pytest.param([FAR, PERSON], [True, True, False, True], id="any of them"),
    ],
)
def test_what_lies_on_things(others: list | None, expected: list[bool]) -> None:
    truth = Truth(boxes(), boxes(), others=None if others is None else boxes(*others))
    assert detection.on_things(boxes(WIDE, HALF, LOW, FAR), truth).tolist() == expected


def test_anchors_on_things_are_drawn_before_others() -> None:
    grid = torch.cartesian_prod(torch.arange(0.0, 600, 10), torch.arange(0.0, 600, 10))
    anchors = torch.cat([grid, grid + 10], dim=1)
    thing, on_a_person, on_a_doubtful = anchors[7:8], anchors[9:10], anchors[11:12]
    logits = torch.zeros(len(anchors))
    logits[[7, 9, 11]] = 1000  # what a drawn negative would cost
    for seed in range(5):  # by chance 1 of 14 anchors is drawn
        truth = Truth(on_a_person, on_a_doubtful, others=torch.cat([thing, on_a_person, on_a_doubtful]))
        objectness, _ = rpn_losses(logits, torch.zeros(len(anchors), 4), anchors, truth, draws(seed))
        expected = (1000 + 254 * math.log(2)) / 256
        assert objectness.item() == pytest.approx(expected, rel=1e-4), "the thing, and neither person nor doubtful"


def test_rpn_loss_by_hand() -> None:
    anchors, truth = boxes(PERSON, HALF, FAR, FAR), Truth(boxes((1, 0, 11, 10)), boxes())
    # IoUs 90/110, 45/105, 0, 0: one positive, one ignored, two negatives.
    logits, deltas = torch.tensor([2.0, 99, -1, 0]), torch.zeros(4, 4)
    objectness, distance = rpn_losses(logits, deltas, anchors, truth, draws())
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log(2)
    assert objectness.item() == pytest.approx(expected / 3, rel=1e-5)
    # One delta of 0.1, below β = 1/9: ½ · 0.1² · 9.
    assert distance.item() == pytest.approx(0.5 * 0.01 * 9 / 3, rel=1e-5)


def test_anchors_across_the_border_may_be_left_out() -> None:
    anchors = boxes((-1, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 20.5), (5, 5, 30, 20))
    logits, truth = torch.tensor([50.0, 0, 50, 0]), Truth(boxes(), boxes())
    kept, _ = rpn_losses(logits, torch.zeros(4, 4), anchors, truth, draws(), inside_hw=(20, 30))
    everything, _ = rpn_losses(logits, torch.zeros(4, 4), anchors, truth, draws())
    assert kept.item() == pytest.approx(math.log(2))
    assert everything.item() > 20


def test_all_ignored_costs_nothing_and_is_differentiable() -> None:
    logits, deltas = torch.zeros(2, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    objectness, distance = rpn_losses(logits, deltas, boxes(PERSON, FAR), Truth(boxes(), boxes(PERSON, FAR)), draws())
    (objectness + distance).backward()
    assert objectness.item() == distance.item() == 0
    assert not logits.grad.any()
    assert not deltas.grad.any()


def test_people_are_candidates_and_ignored_regions_are_not() -> None:
    truth = Truth(boxes(PERSON), boxes(FAR))
    regions = candidate_regions(boxes(FAR, LOW, HALF, (20, 20, 30, 30)), truth)
    assert regions.boxes.tolist() == boxes(LOW, HALF, (20, 20, 30, 30), PERSON).tolist()
    assert regions.labels.tolist() == [0, 1, 0, 1]


def test_a_quarter_of_the_sampled_regions_are_positive_at_most() -> None:
    proposals = torch.cat([boxes(PERSON).repeat(90, 1), boxes(FAR).repeat(200, 1)])
    regions = sample_regions(proposals, Truth(boxes(PERSON), boxes()), draws())
    assert len(regions.boxes) == 128
    assert regions.labels.sum() == 32
    assert torch.equal(regions.boxes[regions.labels == POSITIVE], boxes(PERSON).repeat(32, 1))


def test_region_loss_is_two_class_cross_entropy_and_smooth_l1_of_positives() -> None:
    generator = draws()
    logits, deltas = torch.randn(3, 2, generator=generator), torch.randn(3, 4, generator=generator)
    people = boxes(FAR, PERSON)
    regions = Regions(boxes(HALF, FAR, LOW), torch.tensor([1, 1, 0]), torch.tensor([1, 0, 1]))
    classes, distances = region_losses(logits[:, 1] - logits[:, 0], deltas, regions, people, BOX_WEIGHTS)
    expected = functional.cross_entropy(logits, regions.labels, reduction="none")
    torch.testing.assert_close(classes, expected)
    targets = encode_boxes(people[regions.matches], regions.boxes, BOX_WEIGHTS)
    expected = functional.smooth_l1_loss(deltas, targets, reduction="none").sum(dim=1)
    torch.testing.assert_close(distances, expected * torch.tensor([1.0, 1, 0]))


side, corner = st.floats(4, 90, width=32), st.floats(0, 60, width=32)


@settings(max_examples=60)
@given(st.tuples(corner, corner, side, side), st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)))
def test_the_deltas_that_decode_to_the_person_cost_nothing(
    person: tuple[float, ...], moved: tuple[float, float]
) -> None:
    x, y, w, h = person
    people = boxes((x, y, x + w, y + h))
    proposal = people + torch.tensor([moved[0] * w, moved[1] * h] * 2)
    regions = candidate_regions(proposal, Truth(people, boxes()))
    assert regions.labels.tolist() == [1, 1]
    deltas = encode_boxes(people.repeat(2, 1), regions.boxes, BOX_WEIGHTS)
    torch.testing.assert_close(decode_boxes(deltas, regions.boxes, BOX_WEIGHTS), people.repeat(2, 1), atol=1e-3, rtol=0)
    _, distances = region_losses(torch.zeros(2), deltas, regions, people, BOX_WEIGHTS)
    assert not distances.any()


@pytest.fixture(scope="module")
def network(tiny: Preset) -> FasterRCNN:
    model = create("detector", tiny)
    assert isinstance(model, FasterRCNN)
    return model.eval()  # without dropout


@pytest.fixture(scope="module")
def canvas(tiny: Preset) -> Tensor:
    return torch.randint(0, 256, (1, *tiny.canvas, 3), dtype=torch.uint8, generator=draws())


CROWD = Truth(boxes((10, 10, 40, 80), (60, 20, 80, 70)), boxes((100, 5, 120, 60)))


def test_a_picture_without_people_teaches_background(network: FasterRCNN, canvas: Tensor) -> None:
    losses = detector_losses(network, canvas, [Truth(boxes(), boxes())], draws())
    assert losses["rpn_boxes"] == losses["boxes"] == 0
    for name in ("rpn_objectness", "classes"):
        assert losses[name].item() == pytest.approx(math.log(2), rel=0.2)
    network.zero_grad()
    sum(losses.values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())
    # Background teaches the classes, and boxes nothing.
    assert network.classes.weight.grad.any()
    assert not network.deltas.weight.grad.any()


def test_a_picture_that_is_ignored_altogether_costs_nothing(network: FasterRCNN, canvas: Tensor) -> None:
    everywhere = Truth(boxes(), boxes((-999, -999, 999, 999)))
    losses = detector_losses(network, canvas, [everywhere], draws())
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]
    sum(losses.values()).backward()


def test_a_batch_costs_the_mean_of_its_pictures(
    network: FasterRCNN, canvas: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "ANCHORS", 10**6)  # all of them: nothing is drawn at random
    monkeypatch.setattr(detection, "MINED_REGIONS", 10**6)
    empty = Truth(boxes(), boxes())
    pair = detector_losses(network, canvas.repeat(2, 1, 1, 1), [CROWD, empty], draws())
    alone = [detector_losses(network, canvas, [truth], draws()) for truth in (CROWD, empty)]
    for name, loss in pair.items():
        torch.testing.assert_close(loss, (alone[0][name] + alone[1][name]) / 2)


def test_losses_depend_on_the_generator_alone(network: FasterRCNN, canvas: Tensor) -> None:
    first, again, other = (detector_losses(network, canvas, [CROWD], draws(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["rpn_objectness"], other["rpn_objectness"])


def test_the_second_stage_learns_from_the_hardest_negatives(
    network: FasterRCNN, canvas: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = [Truth(boxes(), boxes())]
    monkeypatch.setattr(detection, "MINED_REGIONS", 10**6)
    every = detector_losses(network, canvas, empty, draws())["classes"]
    monkeypatch.setattr(detection, "MINED_REGIONS", 8)
    mined = [detector_losses(network, canvas, empty, draws(seed))["classes"] for seed in range(5)]
    monkeypatch.setattr(detection, "HARD", 1.0)
    hardest = [detector_losses(network, canvas, empty, draws(seed))["classes"] for seed in range(2)]
    assert hardest[0] == hardest[1] > max(mined)
    assert min(mined) > every


def test_proposals_carry_no_gradient(network: FasterRCNN, canvas: Tensor) -> None:
    losses = detector_losses(network, canvas, [CROWD], draws())
    network.zero_grad()
    (losses["classes"] + losses["boxes"]).backward()
    assert all(parameter.grad is None for parameter in network.rpn.parameters())
    assert network.features[0].weight.grad.any()
