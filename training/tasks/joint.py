"""The task of the joint network."""

from typing import Any

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth
from training.losses.joint import joint_losses
from training.losses.oim import OIM
from training.models import OIMNet
from training.models.backbone import Backbone
from training.preset import Preset
from training.tasks.canvas import CanvasTask, TaskError


class JointTask(CanvasTask[OIMNet]):
    """OIM's network with all its losses at once: the detector's, and OIM over labelled and unlabelled people.

    For the arguments see `CanvasTask`. OIM remembers every batch in training mode.

    Raises:
        TaskError: Nobody in the dataset has an identity; or as `CanvasTask`.
    """

    model = "joint"

    def __init__(self, preset: Preset, scenes: Scenes, **options: Any) -> None:
        super().__init__(preset, scenes, **options)
        if not scenes.identity_count:
            raise TaskError(
                "Nobody in the dataset has an identity, and the joint network learns to tell people apart. Take "
                "composed, real, cuhk_sysu or prw."
            )
        self._oim = OIM(scenes.identity_count, self.network.fc.out_features)
        self.modules["oim"] = self._oim

    @property
    def backbone(self) -> Backbone:
        """See `CanvasTask`."""
        return self.network.features

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return joint_losses(self.network, self._oim, images, truths, generator)
