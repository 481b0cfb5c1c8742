"""The five networks."""

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from training.models.detector import FasterRCNN
from training.models.joint import OIMNet
from training.models.masknet import FCIS
from training.models.reid import MGTS, IDNet
from training.preset import Preset

CLASSES: dict[str, type[FasterRCNN | FCIS | MGTS | IDNet | OIMNet]] = {
    "detector": FasterRCNN,
    "masknet": FCIS,
    "mgts": MGTS,
    "idnet": IDNet,
    "joint": OIMNet,
}
"""Model name → network, in the order of `mgts_trt.bundle.recipe.MODELS`."""

_PREDICTION_STD = {"objectness": 0.01, "classes": 0.01, "score_maps": 0.01, "deltas": 0.001, "box_maps": 0.001}
"""Standard deviations of the initial weights of layers that predict scores (Faster R-CNN, Sec. 3.1.3) and boxes (Fast
R-CNN, Sec. 2.3)."""

_RESIDUAL = 0.25
"""Initial scale of a bottleneck's residual branch. Measured on an untrained ResNet-101, standard deviation of conv5_3
where the input's is 1: 0.25 with this, 6.9 with ½, 28,000 with 1. With 0 only the shortcuts would be left."""


def create(name: str, preset: Preset, *, seed: int = 0) -> FasterRCNN | FCIS | MGTS | IDNet | OIMNet:
    """A network of `CLASSES` with seeded initial weights, in training mode.

    The same name, preset and seed give the same weights, whatever was drawn from PyTorch's generator before; the
    caller's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reseeds every GPU too
        model = CLASSES[name](preset)
        _initialise(model)
    return model


def _initialise(model: nn.Module) -> None:
    """He initialisation, but for the prediction layers, which start small (`_PREDICTION_STD`).

    The residual branches start small too (the idea of Goyal et al., 2017, who start them at 0): batch normalisation
    with its initial statistics normalises nothing, and a ResNet-101 would explode. They do not start at 0, so that
    an untrained network, too, depends on all its weights: parity is then tested on all of them.
    """
    for name, module in model.named_modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _RESIDUAL)
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        std = _PREDICTION_STD.get(name.rpartition(".")[2])
        if std is None:
            # Convolutions keep the variance of what flows back; hidden layers, which pool thousands of values into
            # hundreds, that of what flows forward.
            mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if isinstance(module, nn.Conv2d):  # each output sees one group only
                with torch.no_grad():
                    module.weight *= module.groups**0.5
        else:
            nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


__all__ = ["CLASSES", "FCIS", "MGTS", "FasterRCNN", "IDNet", "OIMNet", "create"]
