"""The loss of the joint network: Faster R-CNN's and OIM's at once (Xiao et al., CVPR 2017, Sec. 3)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision import ops

from training.losses.detection import (
    MINED_POSITIVE,
    MINED_REGIONS,
    POSITIVE,
    Regions,
    Truth,
    candidate_regions,
    on_things,
    propose,
    region_losses,
    sample,
    sample_regions,
)
from training.losses.oim import OIM
from training.models.detector import BOX_WEIGHTS
from training.models.joint import OIMNet
from training.models.reid import IDNet

TEACHING = 10.0
"""Weight of a teacher's loss: about what OIM's is at its beginning, so that neither is lost. By judgement."""

_PATCH_SAMPLES = 2
"""Points a side of a patch's pixel: people are mostly larger than a patch."""


class Teacher(NamedTuple):
    """A trained IDNet, from which the joint network learns how people look."""

    network: IDNet
    patch_hw: tuple[int, int]

    @torch.no_grad()
    def embeddings(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Normalised canvases [B, 3, Hc, Wc] and B tensors of boxes [G_b, 4] → [ΣG, d] of length 1."""
        patches = ops.roi_align(images, list(boxes), self.patch_hw, 1.0, _PATCH_SAMPLES, aligned=True)
        found: Tensor = self.network.eval()(patches)
        return found


def joint_losses(
    network: OIMNet,
    oim: OIM,
    images: Tensor,
    truths: Sequence[Truth],
    generator: torch.Generator,
    teacher: Teacher | None = None,
) -> dict[str, Tensor]:
    """All losses of a batch, each of weight 1 as published. In training mode OIM then remembers the batch.

    One picture shows few people, and OIM alone learns from each of them only whom it is not. A teacher tells of every
    person, known or not, how they look: 1 − cos to its embedding of the true box, `TEACHING` times.

    Every region that is a person's is one person to OIM: of an identity, or one of the unlabelled.

    Args:
        network: The joint network.
        oim: Centres and queue.
        images: Canvases, uint8 [B, Hc, Wc, 3].
        truths: One for each image, B, with identities.
        generator: Draws anchors and regions; a CPU generator.
        teacher: Of embeddings as long as the network's.

    Returns:
        Scalars: `rpn_objectness`, `rpn_boxes`, `classes` and `boxes`, each the mean over the images; and `oim`, with a
        teacher also `teacher`, each the mean over the people's regions.
    """
    normalised = network.normalise(images)
    maps = network.maps(normalised)
    proposals, losses = propose(network.rpn, maps, truths, network.canvas_hw, generator)
    draw = _draw_hard if network.apart else _draw
    regions = draw(network, maps, proposals, truths, generator)
    aligned = network.roi_features(maps, [part.boxes for part in regions])
    labels = torch.cat([part.labels for part in regions])
    people = labels == POSITIVE
    if network.apart:  # only people need be pooled
        heads, pooled = network.box_head(aligned, None), network.pool(aligned[people])
    else:
        everything = network.pool(aligned)
        heads, pooled = network.box_head(aligned, everything), everything[people]
    counts = [len(part.boxes) for part in regions]
    margins = (heads.logits[:, 1] - heads.logits[:, 0]).float().split(counts)
    parts = [
        region_losses(margin, delta, region, truth.boxes, BOX_WEIGHTS)
        for margin, delta, region, truth in zip(
            margins, heads.deltas.float().split(counts), regions, truths, strict=True
        )
    ]
    classes, boxes = (
        torch.stack([loss.sum() / max(1, len(loss)) for loss in part]).mean() for part in zip(*parts, strict=True)
    )
    embeddings = network.identify(pooled).float()
    whose = _people(regions, truths)
    identities = _known(truths)[whose]
    loss = oim(embeddings, identities)
    if network.training:
        oim.update(embeddings.detach(), identities)
    losses |= {"classes": classes, "boxes": boxes, "oim": loss}
    if teacher is not None:
        looks = teacher.embeddings(normalised, [truth.boxes for truth in truths])[whose]
        distance = 1 - (embeddings * looks).sum(dim=1)
        losses["teacher"] = TEACHING * distance.sum() / max(1, len(distance))
    return losses


def _people(regions: Sequence[Regions], truths: Sequence[Truth]) -> Tensor:
    """Of every region that is a person's, in the regions' order: whose, as a row of all truths' boxes: int64 [N]."""
    first = 0
    found = []
    for region, truth in zip(regions, truths, strict=True):
        found.append(first + region.matches[region.labels == POSITIVE])
        first += len(truth.boxes)
    return torch.cat(found)


def _known(truths: Sequence[Truth]) -> Tensor:
    """The identities of all truths' boxes, int64 [ΣG]."""
    known = []
    for truth in truths:
        if truth.identities is None:
            raise ValueError("the joint loss needs truths with identities")
        known.append(truth.identities)
    return torch.cat(known)


def _draw(
    _network: OIMNet, _maps: Tensor, proposals: list[Tensor], truths: Sequence[Truth], generator: torch.Generator
) -> list[Regions]:
    """By chance, as published: to score every candidate first would cost as much as the rest."""
    return [sample_regions(boxes, truth, generator) for boxes, truth in zip(proposals, truths, strict=True)]


@torch.no_grad()
def _draw_hard(
    network: OIMNet, maps: Tensor, proposals: list[Tensor], truths: Sequence[Truth], generator: torch.Generator
) -> list[Regions]:
    """With hard negatives, as the detector draws: scoring every candidate costs little where the heads are apart."""
    candidates = [candidate_regions(boxes, truth) for boxes, truth in zip(proposals, truths, strict=True)]
    logits = network.box_head(network.roi_features(maps, [part.boxes for part in candidates]), None).logits
    drawn = []
    for margin, region, truth in zip(
        (logits[:, 1] - logits[:, 0]).float().split([len(part.boxes) for part in candidates]),
        candidates,
        truths,
        strict=True,
    ):
        things = on_things(region.boxes, truth)
        rows = sample(region.labels, MINED_REGIONS, MINED_POSITIVE, generator, things=things, hardness=margin)
        drawn.append(Regions(*(part[rows] for part in region)))
    return drawn
