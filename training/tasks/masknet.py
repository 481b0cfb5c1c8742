"""The task of the mask net."""

from typing import Any

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth
from training.losses.segmentation import masknet_losses
from training.models import FCIS
from training.models.backbone import Backbone
from training.preset import Preset
from training.tasks.canvas import CanvasTask


class MaskNetTask(CanvasTask[FCIS]):
    """FCIS with its joint loss. Scenes without an instance map teach boxes and scores, but no masks.

    For the arguments see `CanvasTask`; `ohem` is explained at `masknet_losses`.
    """

    model = "masknet"

    def __init__(self, preset: Preset, scenes: Scenes, *, ohem: bool = True, **options: Any) -> None:
        super().__init__(preset, scenes, **options)
        self._ohem = ohem

    @property
    def backbone(self) -> Backbone:
        """See `CanvasTask`."""
        return self.network.backbone

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return masknet_losses(self.network, images, truths, generator, ohem=self._ohem)
