"""Pixels to network input; inside the network, so that training and deployment cannot differ."""

import torch
from torch import Tensor, nn

from mgts_trt.bundle import Normalisation


class Normalise(nn.Module):
    """(x − mean) / std, from uint8 [H, W, 3] RGB to float32 [1, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        # Constants of the preset, not of a checkpoint.
        self.register_buffer("mean", torch.tensor(normalisation.mean), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [H, W, 3] → float32 [1, 3, H, W]."""
        # Cast first: TensorRT transposes no uint8.
        return ((image.float() - self.mean) / self.std).permute(2, 0, 1).unsqueeze(0)
