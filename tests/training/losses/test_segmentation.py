import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import Tensor

from training.losses import segmentation
from training.losses.detection import Regions, Truth
from training.losses.segmentation import MASKS_WEIGHT, hardest, mask_logits, mask_losses, mask_targets, masknet_losses
from training.models import FCIS, create
from training.preset import Preset


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def literal_targets(boxes: Tensor, people: Tensor, instances: Tensor, size: int) -> Tensor:
    """The definition, cell by cell."""
    height, width = instances.shape
    targets = torch.zeros(len(boxes), size, size, dtype=torch.bool)
    for r, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for i in range(size):
            for j in range(size):
                y = math.floor(y1 + (y2 - y1) * (i + 0.5) / size)
                x = math.floor(x1 + (x2 - x1) * (j + 0.5) / size)
                pixel = instances[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
                targets[r, i, j] = pixel == people[r] + 1
    return targets


# Multiples of 1/8 keep cell centres off the pixels' borders or exactly on them, in float32 as in float64.
place, extent = st.integers(-40, 160).map(lambda n: n / 8), st.integers(1, 160).map(lambda n: n / 8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(place, place, extent, extent, st.integers(0, 2)), min_size=1, max_size=4),
    st.sampled_from([1, 4, 8]),
    st.integers(0, 99),
)
def test_mask_targets_equal_their_definition(rows: list[tuple], size: int, seed: int) -> None:
    instances = torch.randint(0, 4, (14, 17), generator=draws(seed))
    boxes = torch.tensor([(x, y, x + w, y + h) for x, y, w, h, _ in rows])
    people = torch.tensor([row[-1] for row in rows])
    expected = literal_targets(boxes, people, instances, size)
    assert torch.equal(mask_targets(boxes, people, instances, size), expected)


def test_a_mask_target_is_the_person_within_the_box() -> None:
    instances = torch.zeros(6, 8, dtype=torch.int64)
    instances[1:4, 2:4] = 2
    instances[4:, 2:4] = 1
    targets = mask_targets(torch.tensor([[0.0, 0, 8, 4]]), torch.tensor([1]), instances, 4)
    assert targets[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]


def test_mask_logits_are_those_of_the_network(tiny: Preset) -> None:
    assembled = torch.randn(3, 4, 21, 21, generator=draws())
    network = create("masknet", tiny)
    assert isinstance(network, FCIS)
    torch.testing.assert_close(torch.sigmoid(mask_logits(assembled)), network.score_and_mask(assembled)[1])


@pytest.fixture
def seen() -> Tensor:
    """The person of row 0 fills the left half of a canvas; the one of row 1 is nowhere to be seen."""
    instances = torch.zeros(10, 10, dtype=torch.int64)
    instances[:, :5] = 1
    return instances


def test_only_positives_whose_mask_is_known_have_a_mask_loss(seen: Tensor) -> None:
    regions = Regions(torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1), torch.tensor([1, 0, 1]), torch.tensor([0, 0, 1]))
    losses, counts = mask_losses(torch.zeros(3, 4, 4), regions, regions.boxes, seen)
    assert counts.tolist() == [True, False, False]
    torch.testing.assert_close(losses, torch.tensor([math.log(2), 0, 0]))
    losses, counts = mask_losses(torch.zeros(3, 4, 4), regions, regions.boxes, None)
    assert not losses.any()
    assert not counts.any()


def test_mask_loss_by_hand(seen: Tensor) -> None:
    regions = Regions(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]), torch.tensor([0]))
    logits = torch.full((1, 2, 2), 3.0)  # everything the person; half of it is
    losses, _ = mask_losses(logits, regions, regions.boxes, seen)
    expected = (math.log1p(math.exp(-3)) + math.log1p(math.exp(3))) / 2
    assert losses.item() == pytest.approx(expected, rel=1e-5)
    right = torch.tensor([[[30.0, -30], [30, -30]]])
    assert mask_losses(right, regions, regions.boxes, seen)[0].item() == pytest.approx(0, abs=1e-6)


def test_hardest() -> None:
    losses = torch.tensor([0.1, 3, 0.2, 2], requires_grad=True)
    assert hardest(losses, 2).tolist() == [1, 3]
    assert sorted(hardest(losses, 9).tolist()) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def network(tiny: Preset) -> FCIS:
    model = create("masknet", tiny)
    assert isinstance(model, FCIS)
    return model.eval()


@pytest.fixture(scope="module")
def canvas(tiny: Preset) -> Tensor:
    return torch.randint(0, 256, (1, *tiny.canvas, 3), dtype=torch.uint8, generator=draws())


def crowd(tiny: Preset, *, masks: bool = True) -> Truth:
    boxes = torch.tensor([[10.0, 10, 40, 80], [60, 20, 80, 70]])
    instances = torch.zeros(tiny.canvas, dtype=torch.int64)
    for k, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        instances[y1:y2, x1 + 4 : x2 - 4] = k + 1
    return Truth(boxes, torch.zeros(0, 4), instances if masks else None)


@pytest.mark.parametrize("ohem", [True, False])
def test_scenes_without_masks_teach_everything_else(tiny: Preset, network: FCIS, canvas: Tensor, *, ohem: bool) -> None:
    with_masks = masknet_losses(network, canvas, [crowd(tiny)], draws(), ohem=ohem)
    without = masknet_losses(network, canvas, [crowd(tiny, masks=False)], draws(), ohem=ohem)
    assert with_masks["masks"].item() == pytest.approx(MASKS_WEIGHT * math.log(2), rel=0.1)
    assert without["masks"] == 0
    for name in ("rpn_objectness", "rpn_boxes", "classes", "boxes"):
        torch.testing.assert_close(with_masks[name], without[name])
    # In one batch the scene with masks alone decides.
    pair = masknet_losses(
        network, canvas.repeat(2, 1, 1, 1), [crowd(tiny), crowd(tiny, masks=False)], draws(), ohem=True
    )
    torch.testing.assert_close(
        pair["masks"], masknet_losses(network, canvas, [crowd(tiny)], draws(), ohem=True)["masks"]
    )


def test_without_people_only_background_is_learnt(network: FCIS, canvas: Tensor) -> None:
    losses = masknet_losses(network, canvas, [Truth(torch.zeros(0, 4), torch.zeros(0, 4))], draws())
    assert losses["boxes"] == losses["masks"] == losses["rpn_boxes"] == 0
    assert losses["classes"] > 0
    network.zero_grad()
    sum(losses.values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())


def test_an_ignored_picture_costs_nothing(network: FCIS, canvas: Tensor) -> None:
    everywhere = Truth(torch.zeros(0, 4), torch.tensor([[-999.0, -999, 999, 999]]))
    losses = masknet_losses(network, canvas, [everywhere], draws())
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0, 0]
    sum(losses.values()).backward()


def test_hard_regions_cost_more_than_all(
    tiny: Preset, network: FCIS, canvas: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = masknet_losses(network, canvas, [crowd(tiny)], draws())
    monkeypatch.setattr(segmentation, "REGIONS", 4)
    hard = masknet_losses(network, canvas, [crowd(tiny)], draws())
    assert hard["classes"] + hard["boxes"] > every["classes"] + every["boxes"]


def test_regions_lie_on_the_networks_input(
    tiny: Preset, network: FCIS, canvas: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The people of a canvas are among the regions that are read, at the network's own resolution."""
    read: list[Tensor] = []
    assemble = network.assemble

    def spy(maps: Tensor, rois: list[Tensor], *stride: int) -> Tensor:
        read.extend(rois)
        return assemble(maps, rois, *stride)

    monkeypatch.setattr(network, "assemble", spy)
    truth = crowd(tiny)
    masknet_losses(network, canvas, [truth], draws())
    scale = torch.tensor([120 / 155, 72 / 92] * 2)
    torch.testing.assert_close(read[0][-2:], truth.boxes * scale)


def test_masks_are_read_where_inference_reads_them(
    tiny: Preset, network: FCIS, canvas: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the boxes as the box maps have moved them, and at the people."""
    first, second = [], []
    read_boxes, read_scores = network.read_boxes, network.read_scores

    def boxes(maps: Tensor, rois: list[Tensor]) -> Tensor:
        first.extend(rois)
        return read_boxes(maps, rois) + 0.5

    def scores(maps: Tensor, rois: list[Tensor]) -> Tensor:
        second.extend(rois)
        return read_scores(maps, rois)

    monkeypatch.setattr(network, "read_boxes", boxes)
    monkeypatch.setattr(network, "read_scores", scores)
    truth = crowd(tiny)
    masknet_losses(network, canvas, [truth], draws())
    conv5 = network.features(network.resize(canvas[0])).conv5
    moved = network.move(read_boxes(conv5, first) + 0.5, first[0])
    torch.testing.assert_close(second[0], torch.cat([moved, truth.boxes / network.to_canvas]))
