"""The task of the joint network."""

from typing import Any

import torch
from torch import Tensor

from training.data.scene import Scenes
from training.losses.detection import Truth
from training.losses.joint import Teacher, joint_losses
from training.losses.oim import OIM
from training.models import OIMNet
from training.models.backbone import Backbone
from training.models.reid import IDNet
from training.preset import Preset
from training.tasks.canvas import CanvasTask, TaskError


class JointTask(CanvasTask[OIMNet]):
    """OIM's network with all its losses at once: the detector's, and OIM over labelled and unlabelled people.

    For most arguments see `CanvasTask`. OIM remembers every batch in training mode.

    Args:
        teacher: A trained IDNet of the same preset, from which it learns besides; see `joint_losses`.

    Raises:
        TaskError: Nobody in the dataset has an identity; the teacher's embeddings are of another length; or as
            `CanvasTask`.
    """

    model = "joint"

    def __init__(self, preset: Preset, scenes: Scenes, *, teacher: IDNet | None = None, **options: Any) -> None:
        super().__init__(preset, scenes, **options)
        if not scenes.identity_count:
            raise TaskError(
                "Nobody in the dataset has an identity, and the joint network learns to tell people apart. Take "
                "composed, real, cuhk_sysu or prw."
            )
        length = self.network.fc.out_features
        if teacher is not None and teacher.fc.out_features != length:
            raise TaskError(
                f"The teacher's embeddings have {teacher.fc.out_features} numbers and the joint network's {length}. "
                "Give the preset the same embedding in both."
            )
        # Beside the modules: it does not learn, and checkpoints need not hold it.
        self._teacher = None if teacher is None else Teacher(teacher, preset.patch)
        self._oim = OIM(scenes.identity_count, length)
        self.modules["oim"] = self._oim

    @property
    def backbone(self) -> Backbone:
        """See `CanvasTask`."""
        return self.network.features

    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        if self._teacher is not None:
            self._teacher.network.to(images.device)
        return joint_losses(self.network, self._oim, images, truths, generator, self._teacher)
