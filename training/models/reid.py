"""Re-identification: MGTS, the mask-guided two-stream network (Sec. 3.3), and IDNet, its single-stream baseline."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.backbone import create_backbone
from training.preset import Preset


class SEBlock(nn.Module):
    """Squeeze-and-excitation: w = σ(W₂ δ(W₁ f_GAP(F))), F′ = F · w (Eq. 1)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def weights(self, pooled: Tensor) -> Tensor:
        """f_GAP(F) [N, C] → w [N, C] in (0, 1)."""
        return torch.sigmoid(self.excite(functional.relu(self.squeeze(pooled))))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] → the same, each channel re-weighted."""
        return x * self.weights(x.mean(dim=(2, 3)))[:, :, None, None]


class MGTS(nn.Module):
    """F-Net and O-Net (unshared) → concat → SE → GAP → FC → L2 (Sec. 3.3, Eq. 1–2)."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        config = preset.reid
        self.f_net = create_backbone(config.backbone)
        self.o_net = create_backbone(config.backbone)
        channels = 2 * self.f_net.conv5_channels
        self.se = SEBlock(channels, config.reduction)
        self.fc = nn.Linear(channels, preset.embedding, bias=False)

    def head(self, f: Tensor, o: Tensor) -> Tensor:
        """The paper's head (Eq. 1–2) on two feature maps [N, c, h, w] → embeddings [N, d] of length 1."""
        reweighted = self.se(torch.cat([f, o], dim=1))
        return functional.normalize(self.fc(reweighted.mean(dim=(2, 3))), dim=1)

    def forward(self, foreground: Tensor, original: Tensor) -> Tensor:
        """Normalised patches [N, 3, h, w] (256 × 128 in Sec. 4.3), twice → embeddings [N, d] of length 1 (Eq. 2)."""
        return self.head(self.f_net(foreground), self.o_net(original))


class IDNet(nn.Module):
    """One stream → GAP → FC → L2 (IDNet_OIM of Sec. 4.4; Table 6, first row)."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        config = preset.reid
        self.o_net = create_backbone(config.backbone)
        self.fc = nn.Linear(self.o_net.conv5_channels, preset.embedding, bias=False)

    def forward(self, original: Tensor) -> Tensor:
        """Normalised patches [N, 3, h, w] (256 × 128 in Sec. 4.3) → embeddings [N, d] of length 1."""
        return functional.normalize(self.fc(self.o_net(original).mean(dim=(2, 3))), dim=1)
