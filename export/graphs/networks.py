"""The four networks in their graph forms, around the weights of `training.models`.

All sizes are known but the first, B pictures or N people.

Each `forward` returns the outputs of the contract first and then *taps*: the tensors between its stages. The exported
file computes the contract alone; the taps keep their names inside it, and the parity check reads them, so that every
stage is compared on the same input and no near-tie in a ranking hides or fakes an error.
"""

import copy
import itertools
from typing import ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.graphs.operators import align_rois, nms, ps_assemble, rows_of, se_head
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet
from training.models.detector import SAMPLES
from training.models.joint import Regions
from training.models.rpn import RPN, STRIDE, clip_boxes, decode_boxes

Network = TypeVar("Network", bound=nn.Module)


class DetectorGraph(nn.Module):
    """Faster R-CNN: `image` uint8 [B, Hc, Wc, 3] → `boxes` [B, K, 4], `scores` [B, K], sorted, zero-padded.

    Boxes are xyxy in canvas pixels, scores 0 … 1, K the preset's `proposals`. Taps, with M anchors: `features`
    [B, C, h, w], `rpn_logits` [B, M], `rpn_deltas` [B, M, 4]; `candidates` [B, min(candidates, M), 4], which enter the
    first NMS, `proposals` [B, K, 4], which leave it, and `proposed` [B, K], 1 where there is one; `roi_boxes` [B, K, 4]
    and `roi_margins` [B, K], which enter the final NMS. All are float32.
    """

    inputs: ClassVar = ("image",)
    outputs: ClassVar = ("boxes", "scores")
    taps: ClassVar = (
        "features",
        "rpn_logits",
        "rpn_deltas",
        "candidates",
        "proposals",
        "proposed",
        "roi_boxes",
        "roi_margins",
    )

    def __init__(self, network: FasterRCNN) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        network = self.network
        features = network.features(network.normalise(image))
        logits, deltas = network.rpn(features)
        candidates, proposals, proposed = propose(network.rpn, features, logits, deltas, network.canvas_hw)
        aligned = align_rois(features, proposals, network.roi_size, SAMPLES, STRIDE)
        classes, moves = (by_picture(each, proposals) for each in network.box_head(aligned))
        boxes, margins = network.refine(classes, moves, proposals)
        order, taken, found = rank_and_suppress(boxes, margins, proposed, network.final_nms)
        scores = torch.sigmoid(rows_of(margins, order)) * taken
        return (found, scores, features, logits, deltas, candidates, proposals, proposed, boxes, margins)


class MaskNetGraph(nn.Module):
    """FCIS: `image` uint8 [B, Hc, Wc, 3] → `boxes` [B, K, 4], `scores` [B, K], `masks` [B, K, m, m], zero-padded.

    Rows are sorted, boxes xyxy in canvas pixels, scores and masks 0 … 1, masks over their boxes. Taps are those of the
    detector in pixels of the network's input, but for `conv4`, `conv5` and `score_maps` [B, C, h, w] instead of
    `features`; and `roi_masks` [B, K, m, m] beside `roi_boxes`.
    """

    inputs: ClassVar = ("image",)
    outputs: ClassVar = ("boxes", "scores", "masks")
    taps: ClassVar = (
        "conv4", "conv5", "score_maps", "rpn_logits", "rpn_deltas", "candidates", "proposals", "proposed",
        "roi_boxes", "roi_margins", "roi_masks",
    )  # fmt: skip

    def __init__(self, network: FCIS) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        network = self.network
        conv4, conv5, fine = network.features(network.resize(image))
        logits, deltas = network.rpn(conv4)
        candidates, proposals, proposed = propose(network.rpn, conv4, logits, deltas, network.input_hw)
        votes = self.assemble(network.box_maps(conv5), proposals, STRIDE)
        boxes = network.move(by_picture(network.box_deltas(votes), proposals), proposals)
        score_maps = network.score_maps(fine)
        margins, masks = (
            by_picture(each, boxes)
            for each in network.score_and_mask(self.assemble(score_maps, boxes, network.fine_stride))
        )
        order, taken, found = rank_and_suppress(boxes, margins, proposed, network.final_nms)
        scores = torch.sigmoid(rows_of(margins, order)) * taken
        return (
            found * network.to_canvas, scores, rows_of(masks, order) * taken[:, :, None, None],
            conv4, conv5, score_maps, logits, deltas, candidates, proposals, proposed, boxes, margins, masks,
        )  # fmt: skip

    def assemble(self, maps: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """Position-sensitive assembling (FCIS, Sec. 3.1): [B, C · k · k, h, w], boxes [B, R, 4] → [B · R, C, m, m].

        Boxes are xyxy in pixels of the network's input, `stride` those between the maps' cells.
        """
        return ps_assemble(maps, boxes, self.network.bins, self.network.mask_size, stride)


class MGTSGraph(nn.Module):
    """MGTS: normalised patches `foreground`, `original` [N, 3, h, w] → `embedding` [N, d] of length 1 (Eq. 1–2).

    Taps: `foreground_features` and `original_features`, the streams' conv5_3 [N, C, h′, w′]. All are float32.

    The head is the operator `SeHead`, the algebraic form of the paper's.
    """

    inputs: ClassVar = ("foreground", "original")
    outputs: ClassVar = ("embedding",)
    taps: ClassVar = ("foreground_features", "original_features")

    def __init__(self, network: MGTS) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, foreground: Tensor, original: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        network = self.network
        f, o = network.f_net(foreground), network.o_net(original)
        embedding = se_head(f, o, network.se.squeeze.weight, network.se.excite.weight, network.fc.weight)
        return embedding, f, o


class IDNetGraph(nn.Module):
    """IDNet: normalised patches `original` [N, 3, h, w] → `embedding` [N, d] of length 1.

    Tap: `original_features`, the stream's conv5_3 [N, C, h′, w′].
    """

    inputs: ClassVar = ("original",)
    outputs: ClassVar = ("embedding",)
    taps: ClassVar = ("original_features",)

    def __init__(self, network: IDNet) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, original: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features = self.network.o_net(original)
        return unit_length(self.network.fc(features.mean(dim=(2, 3)))), features


class JointGraph(nn.Module):
    """OIM: `image` uint8 [B, Hc, Wc, 3], `rois` → `boxes`, `scores`, `embeddings` [B, K, d], `roi_embeddings`.

    Boxes and scores are the detector's, [B, K, 4] and [B, K]; `roi_embeddings` [B, P, d] are of the given boxes `rois`
    [B, P, 4] (xyxy, canvas pixels), which join the proposals behind the RPN. Taps are the detector's, with the given
    boxes' rows last in `roi_boxes` and `roi_margins`, [B, K + P, …], and `roi_identities` [B, K + P, d].
    """

    inputs: ClassVar = ("image", "rois")
    outputs: ClassVar = ("boxes", "scores", "embeddings", "roi_embeddings")
    taps: ClassVar = (*DetectorGraph.taps, "roi_identities")

    def __init__(self, network: OIMNet) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        network = self.network
        maps = network.maps(network.normalise(image))
        logits, deltas = network.rpn(maps)
        candidates, proposals, proposed = propose(network.rpn, maps, logits, deltas, network.canvas_hw)
        regions = torch.cat([proposals, clip_boxes(rois, network.canvas_hw)], dim=1)
        aligned = align_rois(maps, regions, network.roi_size, SAMPLES, STRIDE)
        pooled = network.pool(aligned)
        identities = by_picture(unit_length(network.fc(pooled)), regions)
        heads = Regions(*(by_picture(each, regions) for each in network.box_head(aligned, pooled)))
        boxes, margins = network.refine(heads, regions)
        places = proposals.shape[1]
        order, taken, found = rank_and_suppress(boxes[:, :places], margins[:, :places], proposed, network.final_nms)
        scores = torch.sigmoid(rows_of(margins, order)) * taken
        return (
            found, scores, rows_of(identities, order) * taken[:, :, None], identities[:, places:],
            maps, logits, deltas, candidates, proposals, proposed, boxes, margins, identities,
        )  # fmt: skip


Graph: TypeAlias = DetectorGraph | MaskNetGraph | MGTSGraph | IDNetGraph | JointGraph

GRAPHS: dict[str, type[Graph]] = {
    "detector": DetectorGraph,
    "masknet": MaskNetGraph,
    "mgts": MGTSGraph,
    "idnet": IDNetGraph,
    "joint": JointGraph,
}


def propose(
    rpn: RPN, features: Tensor, logits: Tensor, deltas: Tensor, canvas_hw: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """`RPN.propose` of each picture, with a fixed number of places.

    Args:
        rpn: Anchors and selection.
        features: [B, C, h, w]; its size gives the M anchors.
        logits: [B, M].
        deltas: [B, M, 4].
        canvas_hw: What to clip to.

    Returns:
        The boxes that enter the NMS [B, candidates, 4], best first; those it leaves [B, R, 4], zero where fewer than R
        do; and float [B, R], 1 where there is one.
    """
    preset = rpn.preset
    anchors = rpn.anchors(features)
    _, index = torch.topk(logits, min(preset.candidates, anchors.shape[0]), dim=1)
    boxes = clip_boxes(decode_boxes(rows_of(deltas, index), anchors[index]), canvas_hw)
    keep = nms(boxes, preset.nms)
    order, taken = compact(keep, min(preset.proposals, boxes.shape[1]))
    return boxes, rows_of(boxes, order) * taken[:, :, None], taken


def rank_and_suppress(boxes: Tensor, margins: Tensor, valid: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Final NMS of each picture, with as many places as boxes.

    Args:
        boxes: [B, R, 4].
        margins: [B, R], the ranking.
        valid: [B, R], 0 for rows that are padding already.
        threshold: IoU.

    Returns:
        Row numbers [B, R] into `boxes`, best first; float [B, R], 1 where the place is taken; the boxes there
        [B, R, 4].
    """
    places = boxes.shape[1]
    _, ranking = torch.topk(torch.where(valid > 0.5, margins, torch.finfo(torch.float32).min), places, dim=1)
    ranked = rows_of(boxes, ranking)
    keep = nms(ranked, threshold) * rows_of(valid, ranking)
    order, taken = compact(keep, places)
    return rows_of(ranking, order), taken, rows_of(ranked, order) * taken[:, :, None]


def compact(keep: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows to keep of each picture, in order, in a fixed number of places.

    Args:
        keep: float [B, N], 1 or 0.
        count: Places, ≤ N.

    Returns:
        int64 [B, count], row numbers; and float32 [B, count], 1 where the place is taken, 0 where it is padding.
    """
    # Distinct keys, so that no implementation's way with ties shows: N, N−1, …, 1 for rows kept, 0 or less elsewhere.
    n = keep.shape[1]
    order = torch.arange(n, 0, -1, dtype=torch.float32)
    key, index = torch.topk(keep * order - (1 - keep) * (n - order), count, dim=1)
    return index, (key > 0.5).float()


def by_picture(of_regions: Tensor, boxes: Tensor) -> Tensor:
    """What was computed for the regions of all pictures, [B · R, …], as [B, R, …] of boxes [B, R, 4]."""
    return of_regions.reshape(-1, boxes.shape[1], *of_regions.shape[1:])


def unit_length(x: Tensor) -> Tensor:
    """Rows [N, d] brought to length 1; rows shorter than 1e-12 stay shorter.

    `functional.normalize`, by broadcasting: its expand_as becomes Shape and Expand nodes.
    """
    return x / torch.clamp(torch.linalg.vector_norm(x, dim=1, keepdim=True), min=1e-12)


def fold_batch_norm(network: Network) -> Network:
    """A copy in evaluation mode whose batch normalisations are folded into the convolutions before them."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, convolution), (follower, norm) in itertools.pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, follower, nn.Identity())
    return network
