"""The task of the joint network."""

from typing import cast

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth
from training.losses.joint import joint_losses
from training.losses.oim import OIM
from training.models import OIMNet, create
from training.preset import Preset
from training.tasks.canvas import CanvasTask, Freeze, TaskError


class JointTask(CanvasTask):
    """OIM's network with all its losses at once: the detector's, and OIM over labelled and unlabelled people.

    For the arguments see `CanvasTask`; `seed` is also the weights'. OIM remembers every batch in training mode.

    Raises:
        TaskError: Nobody in the dataset has an identity; or as `CanvasTask`.
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
    ) -> None:
        self.network = cast(OIMNet, create("joint", preset, seed=seed))
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
        if not scenes.identity_count:
            raise TaskError(
                "Nobody in the dataset has an identity, and the joint network learns to tell people apart. Take "
                "composed, real, cuhk_sysu or prw."
            )
        self._oim = OIM(scenes.identity_count, self.network.fc.out_features)
        self.modules["oim"] = self._oim

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        return joint_losses(self.network, self._oim, images, truths, generator)
