"""The four networks in their static-shape graph forms, around the weights of `training.models`.

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

from export.graphs.operators import align_rois, nms, ps_assemble, se_head
from training.models import FCIS, MGTS, FasterRCNN, IDNet
from training.models.detector import SAMPLES
from training.models.rpn import RPN, STRIDE, clip_boxes, decode_boxes

Network = TypeVar("Network", bound=nn.Module)


class DetectorGraph(nn.Module):
    """Faster R-CNN: `image` uint8 [Hc, Wc, 3] → `boxes` [K, 4], `scores` [K], sorted, zero-padded.

    Boxes are xyxy in canvas pixels, scores 0 … 1, K the preset's `proposals`. Taps, with M anchors: `features`
    [1, C, h, w], `rpn_logits` [M], `rpn_deltas` [M, 4]; `candidates` [min(candidates, M), 4], which enter the first
    NMS, `proposals` [K, 4], which leave it, and `proposed` [K], 1 where there is one; `roi_boxes` [K, 4] and
    `roi_margins` [K], which enter the final NMS. All are float32.
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
        candidates, proposals, proposed = propose(network.rpn, features, logits[0], deltas[0], network.canvas_hw)
        aligned = align_rois(features, proposals, network.roi_size, SAMPLES, STRIDE)
        boxes, margins = network.refine(*network.box_head(aligned), proposals)
        order, taken, found = rank_and_suppress(boxes, margins, proposed, network.final_nms)
        scores = torch.sigmoid(margins.index_select(0, order)) * taken
        return (found, scores, features, logits[0], deltas[0], candidates, proposals, proposed, boxes, margins)


class MaskNetGraph(nn.Module):
    """FCIS: `image` uint8 [Hc, Wc, 3] → `boxes` [K, 4], `scores` [K], `masks` [K, m, m], sorted, zero-padded.

    Boxes are xyxy in canvas pixels, scores and masks 0 … 1, masks over their boxes. Taps are those of the detector in
    pixels of the network's input, but for `conv4`, `conv5` and `score_maps` [1, C, h, w] instead of `features`; and
    `roi_masks` [K, m, m] beside `roi_boxes`.
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
        candidates, proposals, proposed = propose(network.rpn, conv4, logits[0], deltas[0], network.input_hw)
        votes = self.assemble(network.box_maps(conv5), proposals, STRIDE)
        boxes = network.move(network.box_deltas(votes), proposals)
        score_maps = network.score_maps(fine)
        margins, masks = network.score_and_mask(self.assemble(score_maps, boxes, network.fine_stride))
        order, taken, found = rank_and_suppress(boxes, margins, proposed, network.final_nms)
        scores = torch.sigmoid(margins.index_select(0, order)) * taken
        return (
            found * network.to_canvas, scores, masks.index_select(0, order) * taken[:, None, None],
            conv4, conv5, score_maps, logits[0], deltas[0], candidates, proposals, proposed, boxes, margins, masks,
        )  # fmt: skip

    def assemble(self, maps: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """Position-sensitive assembling (FCIS, Sec. 3.1): maps [1, C · k · k, h, w], boxes [R, 4] → [R, C, m, m].

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


Graph: TypeAlias = DetectorGraph | MaskNetGraph | MGTSGraph | IDNetGraph

GRAPHS: dict[str, type[Graph]] = {
    "detector": DetectorGraph,
    "masknet": MaskNetGraph,
    "mgts": MGTSGraph,
    "idnet": IDNetGraph,
}


def propose(
    rpn: RPN, features: Tensor, logits: Tensor, deltas: Tensor, canvas_hw: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """`RPN.propose` with a fixed number of places.

    Args:
        rpn: Anchors and selection.
        features: [1, C, h, w]; its size gives the M anchors.
        logits: [M].
        deltas: [M, 4].
        canvas_hw: What to clip to.

    Returns:
        The boxes that enter the NMS [candidates, 4], best first; those it leaves [R, 4], zero where fewer than R do;
        and float [R], 1 where there is one.
    """
    preset = rpn.preset
    anchors = rpn.anchors(features)
    _, index = torch.topk(logits, min(preset.candidates, anchors.shape[0]))
    boxes = clip_boxes(decode_boxes(deltas.index_select(0, index), anchors.index_select(0, index)), canvas_hw)
    keep = nms(boxes, preset.nms)
    order, taken = compact(keep, min(preset.proposals, boxes.shape[0]))
    return boxes, boxes.index_select(0, order) * taken[:, None], taken


def rank_and_suppress(boxes: Tensor, margins: Tensor, valid: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Final NMS with as many places as boxes.

    Args:
        boxes: [R, 4].
        margins: [R], the ranking.
        valid: [R], 0 for rows that are padding already.
        threshold: IoU.

    Returns:
        Row numbers [R] into `boxes`, best first; float [R], 1 where the place is taken; the boxes there [R, 4].
    """
    _, ranking = torch.topk(torch.where(valid > 0.5, margins, torch.finfo(torch.float32).min), boxes.shape[0])
    ranked = boxes.index_select(0, ranking)
    keep = nms(ranked, threshold) * valid.index_select(0, ranking)
    places, taken = compact(keep, boxes.shape[0])
    return ranking.index_select(0, places), taken, ranked.index_select(0, places) * taken[:, None]


def compact(keep: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows to keep, in order, in a fixed number of places.

    Args:
        keep: float [N], 1 or 0.
        count: Places, ≤ N.

    Returns:
        int64 [count], row numbers; and float32 [count], 1 where the place is taken, 0 where it is padding.
    """
    # Distinct keys, so that no implementation's way with ties shows: N, N−1, …, 1 for rows kept, 0 or less elsewhere.
    n = keep.shape[0]
    order = torch.arange(n, 0, -1, dtype=torch.float32)
    key, index = torch.topk(keep * order - (1 - keep) * (n - order), count)
    return index, (key > 0.5).float()


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
