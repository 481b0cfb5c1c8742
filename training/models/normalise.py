"""Pixels to network input; inside the network, so that training and deployment cannot differ."""

import torch
from torch import Tensor, nn

from mgts_trt.bundle.manifest import Normalisation


class Normalise(nn.Module):
    """(x − mean) / std, from uint8 [B, H, W, 3] RGB, or one picture [H, W, 3], to float32 [B, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        # Constants of the preset, not of a checkpoint.
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] → float32 [B, 3, H, W]; one picture becomes a batch of one."""
        pictures = image if image.ndim == 4 else image.unsqueeze(0)
        # Cast first: TensorRT transposes no uint8. Then planes: a constant a plane is quicker than one a pixel.
        return (pictures.float().permute(0, 3, 1, 2) - self.mean) / self.std
