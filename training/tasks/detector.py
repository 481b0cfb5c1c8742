"""The task of the detector."""

from typing import cast

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth, detector_losses
from training.models import FasterRCNN, create
from training.preset import Preset
from training.tasks.canvas import CanvasTask, Freeze


class DetectorTask(CanvasTask):
    """Faster R-CNN with its joint loss (Sec. 4.3). For the arguments see `CanvasTask`; `seed` is also the weights'."""

    def __init__(
        self,
        preset: Preset,
        scenes: Scenes,
        *,
        seed: int = 0,
        batch_size: int = 1,
        augment: bool = True,
        freeze: Freeze = "paper",
    ) -> None:
        self.network = cast(FasterRCNN, create("detector", preset, seed=seed))
        super().__init__(
            self.network,
            self.network.features,
            preset,
            scenes,
            seed=seed,
            batch_size=batch_size,
            augment=augment,
            freeze=freeze,
        )

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return detector_losses(self.network, images, truths, generator)
