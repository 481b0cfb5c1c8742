"""The task of the detector."""

import torch
from torch import Tensor

from training.losses.detection import Truth, detector_losses
from training.models import FasterRCNN
from training.models.backbone import Backbone
from training.tasks.canvas import CanvasTask


class DetectorTask(CanvasTask[FasterRCNN]):
    """Faster R-CNN with its joint loss (Sec. 4.3). For the arguments see `CanvasTask`."""

    model = "detector"

    @property
    def backbone(self) -> Backbone:
        """See `CanvasTask`."""
        return self.network.features

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return detector_losses(self.network, images, truths, generator)
