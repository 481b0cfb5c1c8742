"""Is an exported graph the network? Each stage compared with PyTorch's on the same input.

Ranking and suppression turn the last bit of a score into a different list of boxes, so comparing two networks' final
lists hides errors and fakes others. Here each stage of PyTorch's is fed with what the graph gave for the stage before
(its taps): continuous stages are compared within a tolerance, and selections must agree exactly.

The reference is the FP32 network for every precision. A graph in half is run with the rounding a GPU does
(`mgts_trt.precisions.half.simulate_rounding`), which ONNX Runtime leaves out on CPUs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import torch
from torch import Tensor
from torchvision import ops

from export.errors import ExportError
from export.graphs.networks import GRAPHS
from export.graphs.operators import ROUNDS, rounds_needed
from export.onnx_file import with_taps
from mgts_trt._typing import Array
from mgts_trt.precisions.half import simulate_rounding
from mgts_trt.precisions.onnx_file import open_session
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet
from training.models.rpn import RPN, clip_boxes


@dataclass(frozen=True)
class Bounds:
    """Greatest deviations allowed of what layers with weights compute. All else is float32 in every precision.

    Attributes:
        features: Of a feature map: greatest difference over its greatest value, as convolutions sum in another order.
            Where `rms`, root mean square of the differences over that of the values: half rounds every value a little,
            and behind a ReLU6 the greatest one says nothing of those that were rounded.
        box_pixels: Of a box that a network regresses.
        score: Of a probability.
        mask: Of a mask's probability.
        cosine: Least cosine of two embeddings.
        rms: See `features`.
    """

    features: float
    box_pixels: float
    score: float
    mask: float
    cosine: float
    rms: bool = False


BOUNDS = {
    "fp32": Bounds(features=1e-4, box_pixels=0.05, score=1e-4, mask=1e-3, cosine=1 - 1e-5),
    "fp16": Bounds(features=1e-2, box_pixels=1.0, score=1e-2, mask=2e-2, cosine=0.999, rms=True),
    "int8": Bounds(features=0.5, box_pixels=math.inf, score=0.6, mask=1.0, cosine=0.9, rms=True),
}
"""Those of half are at least twice what was measured on `edge` with ImageNet weights, heads untrained. Those of INT8
only tell a graph that is wrong from one that is coarse; what it costs is measured by parity on pictures."""

_MAPS = frozenset({"features", "conv4", "conv5", "score_maps"})
"""Taps that a network's next stage takes as a batch."""

PIXELS = 0.05
"""Of boxes decoded from the graph's own deltas, which is float32 in every precision."""


@dataclass(frozen=True)
class Check:
    """One comparison: the worst deviation found and the greatest allowed."""

    model: str
    picture: str
    what: str
    worst: float
    bound: float
    precision: str = "fp32"

    @property
    def ok(self) -> bool:
        """Within the bound (a NaN is not)."""
        return bool(self.worst <= self.bound)


def require(checks: list[Check]) -> None:
    """Raise `ExportError` naming every check that failed."""
    failed = [
        f"{c.model} in {c.precision}, {c.picture}: {c.what} off by {c.worst:.3g} (allowed {c.bound:g})"
        for c in checks
        if not c.ok
    ]
    if failed:
        raise ExportError(
            "The exported graph is not the network: "
            + "; ".join(failed)
            + ". No bundle was written. If the weights are finite and sound, this is a defect of the export: report it."
        )


class CheckedGraph:
    """An exported network in ONNX Runtime, all its taps readable, beside the network it came from.

    Args:
        name: Of the model.
        network: In PyTorch and float32.
        path: The file.
        precision: That of the file, a key of `BOUNDS`.
    """

    def __init__(
        self, name: str, network: FasterRCNN | FCIS | MGTS | IDNet | OIMNet, path: Path, precision: str = "fp32"
    ) -> None:
        graph = GRAPHS[name]
        self.precision, self.bounds = precision, BOUNDS[precision]
        self.name, self.network = name, network.eval()
        self.outputs = [*graph.outputs, *graph.taps]
        model = with_taps(path, graph.taps)
        if precision != "fp32":
            model = simulate_rounding(onnx.load_from_string(model)).SerializeToString()
        self.session = open_session(model)

    def run(self, inputs: dict[str, Array]) -> dict[str, Tensor]:
        """The model's inputs by name → outputs and taps by name, of the shapes that the graph's class says."""
        arrays = self.session.run(self.outputs, inputs)
        return {name: torch.from_numpy(array) for name, array in zip(self.outputs, arrays, strict=True)}

    @torch.no_grad()
    def check_picture(self, picture: str, canvas: Array) -> list[Check]:
        """Check what finds people on one canvas, uint8 [Hc, Wc, 3], as the second of a batch of two.

        The first is its mirror image: what a picture took of another one's would show as a stage that is off.
        """
        inputs: dict[str, Array] = {"image": np.stack([canvas[:, ::-1], canvas])}
        if isinstance(self.network, OIMNet):
            rois = _given(self.network)
            inputs["rois"] = torch.stack([rois.flip(0), rois]).numpy()
        batch = self.run(inputs)
        got = {name: values[1:] if name in _MAPS else values[1] for name, values in batch.items()}
        image = torch.from_numpy(canvas)
        if isinstance(self.network, FasterRCNN):
            numbers = _detector(self.network, image, got, self.bounds)
        elif isinstance(self.network, FCIS):
            numbers = _masknet(self.network, image, got, self.bounds)
        elif isinstance(self.network, OIMNet):
            numbers = _joint(self.network, image, got, self.bounds)
        else:
            raise TypeError(f"{self.name} takes patches, not pictures")
        return self._checks(picture, numbers)

    @torch.no_grad()
    def check_patches(self, what: str, inputs: dict[str, Array]) -> list[Check]:
        """Check a re-ID network on normalised patches, float32 [N, 3, h, w] by input name."""
        got = self.run(inputs)["embedding"]
        want = self.network(*(torch.from_numpy(array) for array in inputs.values()))
        return self._checks(what, _embeddings(want, got, self.bounds))

    def _checks(self, picture: str, numbers: "Numbers") -> list[Check]:
        return [
            Check(self.name, picture, what, worst, bound, self.precision) for what, (worst, bound) in numbers.items()
        ]


Numbers: TypeAlias = dict[str, tuple[float, float]]


def _detector(network: FasterRCNN, image: Tensor, got: dict[str, Tensor], bounds: Bounds) -> Numbers:
    features = network.features(network.normalise(image))
    numbers = {"features": (_relative(features, got["features"], bounds.rms), bounds.features)}
    numbers |= _rpn(network.rpn, got["features"], got, network.canvas_hw, bounds)
    heads = network.box_head(network.roi_features(got["features"], [got["proposals"]]))
    boxes, margins = network.refine(*heads, got["proposals"])
    valid = got["proposed"] > 0.5
    numbers["second-stage boxes (px)"] = (_greatest(boxes - got["roi_boxes"], valid), bounds.box_pixels)
    margin_error = torch.sigmoid(margins) - torch.sigmoid(got["roi_margins"])
    numbers["second-stage scores"] = (_greatest(margin_error, valid), bounds.score)
    want = network.suppress(got["roi_boxes"][valid], got["roi_margins"][valid])
    numbers["final NMS, rounds"] = (_final_rounds(got, valid, network.final_nms), ROUNDS)
    return numbers | _final(want, got, {"boxes": 0.0, "scores": 1e-6})


def _masknet(network: FCIS, image: Tensor, got: dict[str, Tensor], bounds: Bounds) -> Numbers:
    conv4, conv5, fine = network.features(network.resize(image))
    score_maps = network.score_maps(fine)
    numbers = {
        "conv4": (_relative(conv4, got["conv4"], bounds.rms), bounds.features),
        "conv5": (_relative(conv5, got["conv5"], bounds.rms), bounds.features),
        "score maps": (_relative(score_maps, got["score_maps"], bounds.rms), bounds.features),
    }
    numbers |= _rpn(network.rpn, got["conv4"], got, network.input_hw, bounds)
    boxes = network.move(network.read_boxes(got["conv5"], [got["proposals"]]), got["proposals"])
    assembled = network.assemble(got["score_maps"], [got["roi_boxes"]], network.fine_stride)
    margins, masks = network.score_and_mask(assembled)
    valid = got["proposed"] > 0.5
    numbers["moved boxes (px)"] = (_greatest(boxes - got["roi_boxes"], valid), bounds.box_pixels)
    margin_error = torch.sigmoid(margins) - torch.sigmoid(got["roi_margins"])
    numbers["scores"] = (_greatest(margin_error, valid), bounds.score)
    numbers["masks"] = (_greatest(masks - got["roi_masks"], valid), bounds.mask)
    want = network.suppress(got["roi_boxes"][valid], got["roi_margins"][valid], got["roi_masks"][valid])
    numbers["final NMS, rounds"] = (_final_rounds(got, valid, network.final_nms), ROUNDS)
    return numbers | _final(want, got, {"boxes": 1e-3, "scores": 1e-6, "masks": 0.0})


def _joint(network: OIMNet, image: Tensor, got: dict[str, Tensor], bounds: Bounds) -> Numbers:
    maps = network.maps(network.normalise(image))
    numbers = {"features": (_relative(maps, got["features"], bounds.rms), bounds.features)}
    numbers |= _rpn(network.rpn, got["features"], got, network.canvas_hw, bounds)
    regions = torch.cat([got["proposals"], clip_boxes(_given(network), network.canvas_hw)])
    aligned = network.roi_features(got["features"], [regions])
    pooled = network.pool(aligned)
    boxes, margins = network.refine(network.box_head(aligned, pooled), regions)
    proposed = got["proposed"] > 0.5
    places = len(proposed)
    valid = torch.cat([proposed, torch.ones(len(regions) - places, dtype=torch.bool)])
    numbers["second-stage boxes (px)"] = (_greatest(boxes - got["roi_boxes"], valid), bounds.box_pixels)
    margin_error = torch.sigmoid(margins) - torch.sigmoid(got["roi_margins"])
    numbers["second-stage scores"] = (_greatest(margin_error, valid), bounds.score)
    numbers |= _embeddings(network.identify(pooled)[valid], got["roi_identities"][valid], bounds)
    found, sure, who = (got[name][:places][proposed] for name in ("roi_boxes", "roi_margins", "roi_identities"))
    keep = network.suppress(found, sure)
    order = sure.argsort(descending=True, stable=True)
    numbers["final NMS, rounds"] = (rounds_needed(found[order], network.final_nms), ROUNDS)
    numbers["embeddings of given boxes"] = (_greatest(got["roi_identities"][places:] - got["roi_embeddings"]), 0.0)
    want = (found[keep], torch.sigmoid(sure[keep]), who[keep])
    return numbers | _final(want, got, {"boxes": 0.0, "scores": 1e-6, "embeddings": 0.0})


def _given(network: OIMNet) -> Tensor:
    """Boxes as somebody might draw them, [P, 4]: upright ones all over the canvas, the last across its corner."""
    height, width = network.canvas_hw
    places = torch.linspace(0, 1, network.probes)[:, None]
    side = torch.tensor([height / 8, height / 3])
    first = places * (torch.tensor([width, height]) - side / 2)
    return torch.cat([first, first + side], dim=1)


def _embeddings(want: Tensor, got: Tensor, bounds: Bounds) -> Numbers:
    cosine = torch.nn.functional.cosine_similarity(got, want, dim=1)
    return {
        "cosine of embeddings": (1 - cosine.min().item(), 1 - bounds.cosine),
        "length of embeddings": ((got.norm(dim=1) - 1).abs().max().item(), 1e-5),
    }


def _rpn(rpn: RPN, features: Tensor, got: dict[str, Tensor], canvas_hw: tuple[int, int], bounds: Bounds) -> Numbers:
    logits, deltas = rpn(features)
    anchors = rpn.anchors(features)
    candidates = got["candidates"]
    # The whole selection with the NMS switched off: the candidates, best first.
    want = _without_nms(rpn, canvas_hw)(got["rpn_logits"], got["rpn_deltas"], anchors)
    descending = torch.arange(len(candidates), 0, -1, dtype=torch.float32)
    kept = candidates[ops.nms(candidates, descending, rpn.preset.nms)][: rpn.preset.proposals]
    return {
        "RPN logits": (_relative(logits[0], got["rpn_logits"], bounds.rms), bounds.features),
        "RPN deltas": (_relative(deltas[0], got["rpn_deltas"], bounds.rms), bounds.features),
        "RPN candidates (px)": (_greatest(want - candidates), PIXELS),
        "RPN proposals (px), NMS": (_padded_difference(kept, got["proposals"]), 0.0),
        "RPN NMS, rounds": (rounds_needed(candidates, rpn.preset.nms), ROUNDS),
        "RPN proposals, count": (abs(len(kept) - got["proposed"].sum().item()), 0.0),
    }


def _without_nms(rpn: RPN, canvas_hw: tuple[int, int]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    preset = rpn.preset.model_copy(update={"nms": 1.0, "proposals": rpn.preset.candidates})
    with torch.device("meta"):
        bare = RPN(1, preset)
    return lambda logits, deltas, anchors: bare.propose(logits, deltas, anchors, canvas_hw)


def _final(want: tuple[Tensor, ...], got: dict[str, Tensor], bounds: dict[str, float]) -> Numbers:
    return {
        f"{name} after the final NMS": (_padded_difference(tensor, got[name]), bound)
        for (name, bound), tensor in zip(bounds.items(), want, strict=True)
    }


def _final_rounds(got: dict[str, Tensor], valid: Tensor, threshold: float) -> int:
    order = got["roi_margins"][valid].argsort(descending=True, stable=True)
    return rounds_needed(got["roi_boxes"][valid][order], threshold)


def _padded_difference(want: Tensor, got: Tensor) -> float:
    """Greatest difference of `want` from the first rows of `got`; infinite if the rows behind them are not zero."""
    count = len(want)
    return float("inf") if bool(got[count:].any()) else _greatest(want - got[:count])


def _relative(want: Tensor, got: Tensor, rms: bool) -> float:
    if rms:
        return ((want - got).norm() / want.norm().clamp(min=np.finfo(np.float32).tiny)).item()
    return _greatest(want - got) / max(want.abs().max().item(), np.finfo(np.float32).tiny)


def _greatest(difference: Tensor, rows: Tensor | None = None) -> float:
    difference = difference if rows is None else difference[rows]
    return difference.abs().max().item() if difference.numel() else 0.0
