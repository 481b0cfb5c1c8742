"""The task of the mask net."""

from typing import cast

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth
from training.losses.segmentation import masknet_losses
from training.models import FCIS, create
from training.preset import Preset
from training.tasks.canvas import CanvasTask, Freeze


class MaskNetTask(CanvasTask):
    """FCIS with its joint loss. Scenes without an instance map teach boxes and scores, but no masks.

    For the arguments see `CanvasTask`; `seed` is also the weights', and `ohem` is explained at `masknet_losses`.
    """

    def __init__(
        self,
        preset: Preset,
        scenes: Scenes,
        *,
        seed: int = 0,
        batch_size: int = 1,
        augment: bool = True,
        freeze: Freeze = "paper",
        ohem: bool = True,
    ) -> None:
        self.network = cast(FCIS, create("masknet", preset, seed=seed))
        super().__init__(
            self.network,
            self.network.backbone,
            preset,
            scenes,
            seed=seed,
            batch_size=batch_size,
            augment=augment,
            freeze=freeze,
        )
        self._ohem = ohem

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return masknet_losses(self.network, images, truths, generator, ohem=self._ohem)
