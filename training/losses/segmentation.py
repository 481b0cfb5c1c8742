"""The joint loss of FCIS (Li et al., CVPR 2017, Sec. 3.2), for one class."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.detection import (
    POSITIVE,
    REGIONS,
    Regions,
    Truth,
    box_losses,
    candidate_regions,
    class_losses,
    propose,
    sample_regions,
)
from training.models.masknet import BOX_WEIGHTS, CLASSES, FCIS

MASKS_WEIGHT = 2.5
"""Of the masks' loss beside the others'. FCIS's published configuration gives it 10, of a mean over all `REGIONS`, and
here it is a mean over those with a mask: about a quarter of them. By reckoning; no other was tried."""


def mask_targets(boxes: Tensor, people: Tensor, instances: Tensor, size: int) -> Tensor:
    """The true masks of regions, read from the instance map at the centres of the regions' cells.

    Args:
        boxes: Regions, xyxy canvas pixels, [R, 4].
        people: Row of the person that each is to show, int64 [R].
        instances: int64 [Hc, Wc], k + 1 where the person of row k is visible.
        size: m, cells along each side.

    Returns:
        bool [R, m, m], row by row from the top. A cell outside the canvas reads the canvas's nearest pixel.
    """
    steps = (torch.arange(size, device=boxes.device) + 0.5) / size
    corner, side = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[:, :, None]
    x, y = (corner + side * steps).floor().long().unbind(dim=1)
    height, width = instances.shape
    cells = instances[y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    return cells == people[:, None, None] + 1


def mask_logits(assembled: Tensor) -> Tensor:
    """Assembled score maps [R, 4, m, m] → the person's inside minus outside, [R, m, m].

    The softmax between the two (FCIS, Sec. 3.2) is the sigmoid of this.
    """
    person = assembled.unflatten(1, (CLASSES, 2))[:, 1]
    return person[:, 0] - person[:, 1]


def mask_losses(logits: Tensor, regions: Regions, boxes: Tensor, instances: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mask loss of each region of one image.

    Args:
        logits: `mask_logits`, [R, m, m].
        regions: The R regions.
        boxes: The regions in canvas pixels, [R, 4].
        instances: The canvas's instance map, int64 [Hc, Wc]; None where there is none.

    Returns:
        Cross-entropy averaged over the cells, [R], and whether it counts, bool [R]: it is 0 and does not for negatives,
        for people who are nowhere on the instance map (labelled without a mask), and without an instance map.
    """
    counts = regions.labels == POSITIVE
    if instances is None:
        counts = torch.zeros_like(counts)
    else:
        counts = counts & torch.isin(regions.matches + 1, instances.unique())
    rows = counts.nonzero().flatten()
    losses = logits.new_zeros(len(logits))
    if instances is None or not len(rows):
        return losses, counts
    targets = mask_targets(boxes[rows], regions.matches[rows], instances, logits.shape[-1])
    cells = functional.binary_cross_entropy_with_logits(logits[rows], targets.float(), reduction="none")
    return losses.index_put((rows,), cells.mean(dim=(1, 2))), counts


def hardest(losses: Tensor, count: int) -> Tensor:
    """Rows of the `count` greatest of the losses [R], int64 [min(count, R)], the greatest first.

    Online hard example mining (Shrivastava et al., CVPR 2016), but without its NMS among the regions, as FCIS does.
    """
    return losses.detach().topk(min(count, len(losses))).indices


def masknet_losses(
    network: FCIS, images: Tensor, truths: Sequence[Truth], generator: torch.Generator, *, ohem: bool = True
) -> dict[str, Tensor]:
    """The joint loss of a batch. Boxes are read at the proposals, class and mask where the boxes then are.

    So does inference read them; FCIS trains all three at the proposals. Heads trained for 250 iterations either way on
    one backbone: mask IoU of true positives on held-out Penn-Fudan .751 at the proposals, .761 at the moved boxes.

    Its parts are weighed alike, but the masks' by `MASKS_WEIGHT`.

    Args:
        network: The mask net.
        images: Canvases, uint8 [B, Hc, Wc, 3].
        truths: One for each image, canvas pixels, B. Those without an instance map teach boxes and scores alone.
        generator: Draws anchors, and regions unless `ohem`; a CPU generator.
        ohem: Learn from the `REGIONS` hardest of all regions, as FCIS does (Sec. 3.3), rather than from a random draw
            with at most `REGIONS_POSITIVE` positives.

    Returns:
        Scalars: `rpn_objectness`, `rpn_boxes`, `classes` and `boxes`, each the mean over the images, and `masks`, the
        weighed mean over the regions with a mask (0 if there are none).
    """
    to_canvas = network.to_canvas
    on_input = [Truth(truth.boxes / to_canvas, truth.ignored / to_canvas) for truth in truths]
    conv4, conv5, fine = network.features(torch.cat([network.resize(image) for image in images]))
    proposals, losses = propose(network.rpn, conv4, on_input, network.input_hw, generator)

    def regions_at(found: Sequence[Tensor]) -> list[Regions]:
        pairs = zip(found, on_input, strict=True)
        return [candidate_regions(*pair) if ohem else sample_regions(*pair, generator) for pair in pairs]

    first = regions_at(proposals)
    counts = [len(part.boxes) for part in first]
    deltas = network.read_boxes(conv5, [part.boxes for part in first]).split(counts)
    moved = [network.move(part.detach(), region.boxes) for part, region in zip(deltas, first, strict=True)]
    second = regions_at(moved)
    scores = network.read_scores(fine, [part.boxes for part in second]).split([len(part.boxes) for part in second])

    classes, boxes, cells = [], [], []
    for image, truth in enumerate(truths):
        of_boxes = box_losses(deltas[image], first[image], on_input[image].boxes, BOX_WEIGHTS)
        of_classes = class_losses(network.score_and_mask(scores[image])[0], second[image])
        masks, on_canvas = mask_logits(scores[image]), second[image].boxes * to_canvas
        of_masks, has_mask = mask_losses(masks, second[image], on_canvas, truth.instances)
        if ohem:
            of_boxes = of_boxes[hardest(of_boxes, REGIONS)]
            rows = hardest(of_classes + of_masks, REGIONS)
            of_classes, of_masks, has_mask = (part[rows] for part in (of_classes, of_masks, has_mask))
        classes.append(of_classes.sum() / max(1, len(of_classes)))
        boxes.append(of_boxes.sum() / max(1, len(of_boxes)))
        cells.append(of_masks[has_mask])
    of_cells = torch.cat(cells)
    return losses | {
        "classes": torch.stack(classes).mean(),
        "boxes": torch.stack(boxes).mean(),
        "masks": MASKS_WEIGHT * of_cells.sum() / max(1, len(of_cells)),
    }
