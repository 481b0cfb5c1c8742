"""The joint loss of Faster R-CNN (Ren et al., NIPS 2015; Sec. 3.2 and 4.3), for one class."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import ops

from training.data.scene import IGNORED_COVER
from training.models.detector import BOX_WEIGHTS, FasterRCNN
from training.models.rpn import RPN, encode_boxes

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
"""Labels of anchors and regions."""

ANCHORS = 256
"""Anchors of an image that enter the RPN's loss (Ren et al., Sec. 3.1.3; torchvision has the same)."""

ANCHORS_POSITIVE = 0.5
"""Greatest share of positives among them (Ren et al., Sec. 3.1.3: a ratio of up to 1:1)."""

ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.7, 0.3
"""IoU from which an anchor is positive, and below which it is negative (Ren et al., Sec. 3.1.2)."""

ANCHOR_BETA = 1 / 9
"""Where the RPN's smooth L1 turns linear: 1/σ² with σ = 3 in Faster R-CNN's published code, and torchvision's number.
The second stage's does at 1, as published (Girshick, Fast R-CNN, ICCV 2015, Eq. 3)."""

REGIONS = 128
"""Regions of an image that enter the second stage's loss. Faster R-CNN's published code draws 128, and FCIS
takes the 128 hardest (Sec. 3.3)."""

REGIONS_POSITIVE = 0.25
"""Greatest share of positives among those drawn (Fast R-CNN, Sec. 2.3)."""

MINED_REGIONS, MINED_POSITIVE = 64, 0.5
"""Regions of an image that the detector's second stage learns from, and the greatest share of positives among them.
Online hard example mining has as many of an image (128 of two: Shrivastava et al., CVPR 2016, Sec. 5.1); half of them
is as many people as Fast R-CNN's quarter of 128."""

HARD, THINGS = 0.5, 0.25
"""Share of the negatives that are the hardest there are, and greatest share that lie on things of `Truth.others`. The
rest is drawn at random, so that a person without a label, the hardest negative of all, does not rule. By judgement."""

REGION_IOU = 0.5
"""IoU from which a region is positive (Fast R-CNN, Sec. 2.3; FCIS, Sec. 3.3). Below it all are negative, as in
torchvision and in FCIS's published configuration; Fast R-CNN leaves out those under 0.1."""


class Truth(NamedTuple):
    """What is known of one canvas."""

    boxes: Tensor
    """The people, xyxy canvas pixels, [N, 4]; each has a width and a height."""
    ignored: Tensor
    """Where nothing is learnt, for it is neither quite a person nor background, [I, 4]."""
    instances: Tensor | None = None
    """int64 [Hc, Wc]: k + 1 where the person of row k is visible, 0 elsewhere. None without masks."""
    others: Tensor | None = None
    """Things that are no people, [O, 4]: background to learn from first. None where none are known."""
    identities: Tensor | None = None
    """Of the people, int64 [N]: 0 … L−1, or −1 for the unlabelled. None where nobody asks."""

    def to(self, device: torch.device) -> "Truth":
        """The same on `device`."""
        return Truth(*(None if part is None else part.to(device) for part in self))


class Assignment(NamedTuple):
    """What each of M boxes is to become."""

    labels: Tensor
    """`POSITIVE`, `NEGATIVE` or `IGNORED`, int64 [M]."""
    matches: Tensor
    """Row of the person it overlaps most, int64 [M]; 0 if there is nobody."""


class Regions(NamedTuple):
    """The regions of one image that the second stage learns from."""

    boxes: Tensor
    """xyxy, [R, 4]."""
    labels: Tensor
    """`POSITIVE` or `NEGATIVE`, int64 [R]."""
    matches: Tensor
    """As in `Assignment`, int64 [R]."""


def assign(
    boxes: Tensor, truth: Truth, *, positive: float, negative: float, best_of_each_person: bool = False
) -> Assignment:
    """Label anchors or proposals by their overlap with people.

    Args:
        boxes: [M, 4].
        truth: People and ignored boxes, in the same coordinates.
        positive: IoU with a person from which a box is positive.
        negative: IoU with every person below which it is negative; in between it is ignored. So is a negative box of
            which `IGNORED_COVER` lies on one ignored box.
        best_of_each_person: Make positive, too, the boxes that overlap a person most, whatever their IoU but 0 (the
            RPN's rule: otherwise a person of unusual shape has no anchor at all).

    Returns:
        A label and a match for each box. Without people every box is negative or ignored.
    """
    labels = torch.full((len(boxes),), NEGATIVE, device=boxes.device)
    matches = torch.zeros_like(labels)
    if len(truth.boxes):
        overlaps = ops.box_iou(boxes, truth.boxes)
        best, matches = overlaps.max(dim=1)
        labels[best >= negative] = IGNORED
    if len(truth.ignored):
        labels[_cover(boxes, truth.ignored) >= IGNORED_COVER] = IGNORED
    if len(truth.boxes):
        labels[best >= positive] = POSITIVE
        if best_of_each_person and len(boxes):
            record = overlaps.amax(dim=0)
            labels[((overlaps == record) & (record > 0)).any(dim=1)] = POSITIVE
    return Assignment(labels, matches)


def _cover(boxes: Tensor, ignored: Tensor) -> Tensor:
    """The largest share of each box's area that one ignored box covers, [M]."""
    low = torch.maximum(boxes[:, None, :2], ignored[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1).amax(dim=1)
    return shared / ops.box_area(boxes).clamp(min=1e-6)  # a box without an area is covered by none


def on_things(boxes: Tensor, truth: Truth) -> Tensor:
    """Which boxes [M, 4] would be people's by their overlap, were the things of `truth.others` people: bool [M]."""
    if truth.others is None or not len(truth.others):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return ops.box_iou(boxes, truth.others).amax(dim=1) >= REGION_IOU


def sample(
    labels: Tensor,
    count: int,
    positive_share: float,
    generator: torch.Generator,
    *,
    things: Tensor | None = None,
    hardness: Tensor | None = None,
) -> Tensor:
    """Draw boxes for a loss: at most `positive_share` positives, filled up with negatives.

    Args:
        labels: int64 [M].
        count: How many are drawn, fewer only where there are not enough.
        positive_share: 0…1.
        generator: A CPU generator; the draw depends on it and the other arguments alone.
        things: `on_things`, bool [M]: up to `THINGS` of the negatives are drawn from these before all others.
        hardness: Loss of each box if it is a negative, or anything that grows with it, [M]: `HARD` of the negatives are
            those where it is greatest.

    Returns:
        Rows, int64 [S], each once, positives first.
    """
    rows = [_draw(labels == POSITIVE, int(count * positive_share), generator)]
    room, left = count - len(rows[0]), labels == NEGATIVE
    if things is not None:
        rows.append(_draw(left & things, int(room * THINGS), generator))
        left = left.index_fill(0, rows[-1], False)
    if hardness is not None:
        # Stable: of equals the lower row, on every machine.
        order = hardness.masked_fill(~left, -torch.inf).argsort(descending=True, stable=True)
        rows.append(order[: min(int(room * HARD), int(left.sum()))])
        left = left.index_fill(0, rows[-1], False)
    rows.append(_draw(left, count - sum(len(part) for part in rows), generator))
    return torch.cat(rows)


def _draw(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    rows = mask.nonzero().flatten()
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]


def rpn_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    truth: Truth,
    generator: torch.Generator,
    *,
    inside_hw: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The RPN's loss on one image (Ren et al., Eq. 1), both parts averaged over the sampled anchors.

    Eq. 1 divides the boxes' part by the number of cells and weighs it by λ = 10, which comes to about the same.

    Args:
        logits: Objectness [M].
        deltas: [M, 4].
        anchors: [M, 4].
        truth: In the anchors' coordinates.
        generator: Draws `ANCHORS` anchors, see `sample`; a CPU generator.
        inside_hw: Ignore anchors that cross the border of an image of this height and width, as Faster R-CNN did.
            None keeps them: on a small canvas hardly any large anchor lies inside.

    Returns:
        Binary cross-entropy of objectness and smooth L1 of the positives' deltas, scalars; 0 where nothing is sampled.
    """
    labels, matches = assign(
        anchors, truth, positive=ANCHOR_POSITIVE, negative=ANCHOR_NEGATIVE, best_of_each_person=True
    )
    if inside_hw is not None:
        limit = anchors.new_tensor([inside_hw[1], inside_hw[0]])
        labels[(anchors[:, :2] < 0).any(dim=1) | (anchors[:, 2:] > limit).any(dim=1)] = IGNORED
    # Not the hardest: the RPN's part is to miss nobody, and the second stage's to tell people from things.
    rows = sample(labels, ANCHORS, ANCHORS_POSITIVE, generator, things=on_things(anchors, truth))
    positives = rows[labels[rows] == POSITIVE]
    objectness = functional.binary_cross_entropy_with_logits(logits[rows], labels[rows].float(), reduction="sum")
    targets = encode_boxes(truth.boxes[matches[positives]], anchors[positives])
    boxes = functional.smooth_l1_loss(deltas[positives], targets, beta=ANCHOR_BETA, reduction="sum")
    return objectness / max(1, len(rows)), boxes / max(1, len(rows))


def propose(
    rpn: RPN, features: Tensor, truths: Sequence[Truth], input_hw: tuple[int, int], generator: torch.Generator
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Run the RPN on a batch: what it proposes and what it has to learn.

    Args:
        rpn: The network's.
        features: [B, C, h, w].
        truths: One for each image, in pixels of the network's input.
        input_hw: Height and width of the network's input.
        generator: Draws the anchors.

    Returns:
        Proposals [R_b, 4] for each image, without gradients, and the losses `rpn_objectness` and `rpn_boxes`.
    """
    logits, deltas = (part.float() for part in rpn(features))
    anchors = rpn.anchors(features)
    losses = [rpn_losses(logits[image], deltas[image], anchors, truth, generator) for image, truth in enumerate(truths)]
    proposals = [
        rpn.propose(logits[image].detach(), deltas[image].detach(), anchors, input_hw) for image in range(len(truths))
    ]
    objectness, boxes = (torch.stack(part).mean() for part in zip(*losses, strict=True))
    return proposals, {"rpn_objectness": objectness, "rpn_boxes": boxes}


def candidate_regions(proposals: Tensor, truth: Truth) -> Regions:
    """All regions of an image that may be learnt from: its proposals [R, 4] and its people, less the ignored ones.

    The people themselves are among them, so that the second stage sees positives before the RPN has learnt.
    """
    boxes = torch.cat([proposals, truth.boxes])
    labels, matches = assign(boxes, truth, positive=REGION_IOU, negative=REGION_IOU)
    keep = labels != IGNORED
    return Regions(boxes[keep], labels[keep], matches[keep])


def sample_regions(proposals: Tensor, truth: Truth, generator: torch.Generator) -> Regions:
    """`REGIONS` of the candidates, at most `REGIONS_POSITIVE` of them positive (Fast R-CNN, Sec. 2.3).

    Args:
        proposals: xyxy, [R, 4].
        truth: In the proposals' coordinates.
        generator: A CPU generator.

    Returns:
        S ≤ `REGIONS` regions: boxes [S, 4], labels and matches int64 [S], positives first.
    """
    candidates = candidate_regions(proposals, truth)
    rows = sample(candidates.labels, REGIONS, REGIONS_POSITIVE, generator)
    return Regions(*(part[rows] for part in candidates))


def region_losses(
    margins: Tensor, deltas: Tensor, regions: Regions, people: Tensor, weights: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """The second stage's loss of each region of one image.

    Args:
        margins: The person's logit minus the background's, [R]: two-class cross-entropy depends on nothing else.
        deltas: [R, 4].
        regions: The R regions.
        people: The boxes that `regions.matches` counts, [N, 4].
        weights: Of the regression's targets, see `encode_boxes`.

    Returns:
        Cross-entropy [R] and smooth L1 [R], the latter 0 for negatives.
    """
    return class_losses(margins, regions), box_losses(deltas, regions, people, weights)


def class_losses(margins: Tensor, regions: Regions) -> Tensor:
    """The cross-entropy of each region, [R]; for the arguments see `region_losses`."""
    return functional.binary_cross_entropy_with_logits(margins, regions.labels.float(), reduction="none")


def box_losses(deltas: Tensor, regions: Regions, people: Tensor, weights: tuple[float, float]) -> Tensor:
    """The smooth L1 of each region, [R], 0 for negatives; for the arguments see `region_losses`."""
    positives = (regions.labels == POSITIVE).nonzero().flatten()
    targets = encode_boxes(people[regions.matches[positives]], regions.boxes[positives], weights)
    distances = functional.smooth_l1_loss(deltas[positives], targets, reduction="none").sum(dim=1)
    return distances.new_zeros(len(deltas)).index_put((positives,), distances)


def detector_losses(
    network: FasterRCNN, images: Tensor, truths: Sequence[Truth], generator: torch.Generator
) -> dict[str, Tensor]:
    """The joint loss of a batch (Sec. 4.3), the second stage's with hard examples (`sample`) among the negatives.

    Args:
        network: The detector.
        images: Canvases, uint8 [B, Hc, Wc, 3].
        truths: One for each image, B.
        generator: Draws anchors and regions; a CPU generator.

    Returns:
        Scalars: `rpn_objectness`, `rpn_boxes`, `classes` and `boxes`, each the mean over the images.
    """
    features = network.features(torch.cat([network.normalise(image) for image in images]))
    proposals, losses = propose(network.rpn, features, truths, network.canvas_hw, generator)
    candidates = [candidate_regions(boxes, truth) for boxes, truth in zip(proposals, truths, strict=True)]
    logits, deltas = network.box_head(network.roi_features(features, [part.boxes for part in candidates]))
    counts = [len(part.boxes) for part in candidates]
    margins = (logits[:, 1] - logits[:, 0]).float().split(counts)
    parts = []
    for margin, delta, region, truth in zip(margins, deltas.float().split(counts), candidates, truths, strict=True):
        # A negative's loss grows with its margin.
        hard, things = margin.detach(), on_things(region.boxes, truth)
        rows = sample(region.labels, MINED_REGIONS, MINED_POSITIVE, generator, things=things, hardness=hard)
        drawn = Regions(*(part[rows] for part in region))
        parts.append(region_losses(margin[rows], delta[rows], drawn, truth.boxes, BOX_WEIGHTS))
    classes, boxes = (
        torch.stack([loss.sum() / max(1, len(loss)) for loss in part]).mean() for part in zip(*parts, strict=True)
    )
    return losses | {"classes": classes, "boxes": boxes}
