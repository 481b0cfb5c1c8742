"""The networks of `training/` as one would run them for speed in PyTorch: half, on the device, without needless waits.

The steps are those of each network's `forward`, with anchors, limits and scales made once instead of copied to the
device for every picture. What is left of waiting for the device is what PyTorch's NMS does.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import ops

from training.models import create
from training.models.detector import BOX_WEIGHTS as DETECTOR_WEIGHTS
from training.models.masknet import BOX_WEIGHTS as MASKNET_WEIGHTS
from training.models.rpn import RPN, decode_boxes
from training.preset import Preset

FORMS: dict[str, tuple[bool, str | None]] = {
    "eager": (False, None),
    "channels-last": (True, None),
    "compiled": (True, "default"),
    "compiled-graphs": (True, "reduce-overhead"),
}
"""Name → channels last, and torch.compile's mode, if it is compiled. `reduce-overhead` captures CUDA graphs."""


class TorchNetworks:
    """Some networks of a preset, with seeded weights, in one of `FORMS`.

    Args:
        preset: Their sizes.
        models: Their names.
        form: One of `FORMS`.
        device: `cuda` or `cpu`.
        networks: Ready networks by name instead of seeded ones.
        half: Whether they run in half; None means on `cuda` only.
    """

    def __init__(
        self,
        preset: Preset,
        models: Iterable[str],
        form: str,
        device: str,
        networks: dict[str, nn.Module] | None = None,
        half: bool | None = None,
    ) -> None:
        self.device, self.half = torch.device(device), device != "cpu" if half is None else half
        self._channels_last, self._mode = FORMS[form]
        self._networks = {name: self._prepare((networks or {}).get(name) or create(name, preset)) for name in models}
        self._compiled: dict[tuple[str, str], Callable[..., Any]] = {}

    @torch.inference_mode()
    def run(self, model: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One network on tensors of the device.

        Args:
            model: Its name.
            *inputs: Of `detector` and `masknet` the canvas, uint8 [1, Hc, Wc, 3], of `joint` also boxes, xyxy canvas
                pixels, [1, P, 4]; of `mgts` foreground and original, of `idnet` the original, [N, 3, H, W].

        Returns:
            What the model's contract names, with as many boxes as were found; on the device.
        """
        steps = {"detector": self._detector, "masknet": self._masknet, "joint": self._joint}
        if self._mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with self._precision():
            if model in steps:
                return steps[model](*inputs)
            batches = (self._laid_out(batch) for batch in inputs)
            return (self._step(model, "forward")(*batches).float(),)

    def _detector(self, canvas: Tensor) -> tuple[Tensor, ...]:
        network: Any = self._networks["detector"]
        features = self._step("detector", "features")(self._laid_out(network.normalise(canvas)))
        proposals = self._propose("detector", features, network.canvas_hw)
        logits, deltas = self._step("detector", "box_head")(network.roi_features(features, [proposals]))
        boxes = self._clip(decode_boxes(deltas.float(), proposals, DETECTOR_WEIGHTS), network.canvas_hw)
        margins = logits[:, 1].float() - logits[:, 0].float()
        keep = ops.nms(boxes, margins, network.final_nms)
        return boxes[keep], torch.sigmoid(margins[keep])

    def _masknet(self, canvas: Tensor) -> tuple[Tensor, ...]:
        network: Any = self._networks["masknet"]
        conv4, conv5, fine = self._step("masknet", "features")(self._laid_out(network.resize(canvas)))
        proposals = self._propose("masknet", conv4, network.input_hw)
        # Boxes need float32, and position-sensitive pooling takes maps of the same type.
        deltas = network.read_boxes(conv5, [proposals]).float()
        boxes = self._clip(decode_boxes(deltas, proposals, MASKNET_WEIGHTS), network.input_hw)
        margins, masks = network.score_and_mask(network.read_scores(fine, [boxes]))
        margins = margins.float()
        keep = ops.nms(boxes, margins, network.final_nms)
        (height, width), (canvas_height, canvas_width) = network.input_hw, network.canvas_hw
        scale = _constant((canvas_width / width, canvas_height / height) * 2, self.device)
        return boxes[keep] * scale, torch.sigmoid(margins[keep]), masks[keep].float()

    def _joint(self, canvas: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        network: Any = self._networks["joint"]
        maps = self._step("joint", "maps")(self._laid_out(network.normalise(canvas)))
        proposals = self._propose("joint", maps, network.canvas_hw)
        count = len(proposals)
        given = self._clip(rois[0].to(self.device), network.canvas_hw)
        aligned = network.roi_features(maps, [torch.cat([proposals, given])])
        pooled = self._step("joint", "pool")(aligned)
        logits, deltas = self._step("joint", "box_head")(aligned[:count], pooled[:count])
        boxes = self._clip(decode_boxes(deltas.float(), proposals, DETECTOR_WEIGHTS), network.canvas_hw)
        margins = logits[:, 1].float() - logits[:, 0].float()
        embeddings = self._step("joint", "identify")(pooled).float()
        keep = ops.nms(boxes, margins, network.final_nms)
        return boxes[keep], torch.sigmoid(margins[keep]), embeddings[:count][keep], embeddings[count:]

    def _propose(self, model: str, features: Tensor, limit_hw: tuple[int, int]) -> Tensor:
        """`RPN.propose`, on constants that are on the device already."""
        rpn: Any = self._networks[model].rpn
        logits, deltas = self._step(model, "rpn")(features)
        anchors = _anchors(rpn, (features.shape[-2], features.shape[-1]), self.device)
        best, index = (part[: rpn.preset.candidates] for part in logits[0].float().sort(descending=True, stable=True))
        boxes = self._clip(decode_boxes(deltas[0].float()[index], anchors[index]), limit_hw)
        return boxes[ops.nms(boxes, best, rpn.preset.nms)[: rpn.preset.proposals]]

    def _clip(self, boxes: Tensor, limit_hw: tuple[int, int]) -> Tensor:
        limit = _constant((float(limit_hw[1]), float(limit_hw[0])) * 2, self.device)
        return torch.minimum(torch.clamp(boxes, min=0), limit)

    def _prepare(self, network: nn.Module) -> nn.Module:
        network = network.eval().to(self.device)
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)
        if self.half:
            network = network.half()
            if (normalise := getattr(network, "normalise", None)) is not None:
                normalise.float()  # 123.675 is not 123.7
        return network

    def _laid_out(self, batch: Tensor) -> Tensor:
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        return batch.to(self.device).contiguous(memory_format=layout)

    def _step(self, model: str, name: str) -> Callable[..., Any]:
        """A network's method or part, compiled where this form compiles."""
        step = getattr(self._networks[model], name)
        if self._mode is None:
            return step  # type: ignore[no-any-return]
        if (model, name) not in self._compiled:
            self._compiled[model, name] = torch.compile(step, mode=self._mode)
        return self._compiled[model, name]

    def _precision(self) -> AbstractContextManager[Any]:
        # Weights are half already; autocast brings what is float between them to half, and islands back.
        return torch.autocast(self.device.type, torch.half) if self.half else nullcontext()


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


@cache
def _anchors(rpn: RPN, feature_hw: tuple[int, int], device: torch.device) -> Tensor:
    return rpn.anchors(torch.empty(1, 1, *feature_hw, device=device))
