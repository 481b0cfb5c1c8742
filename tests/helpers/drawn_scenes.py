"""Scenes of two ellipses, which a tiny network learns in seconds, and how it does."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data.scene import UNKNOWN, Scene
from training.tasks.canvas import CanvasTask

COLOURS = ((220, 60, 50), (50, 70, 220))
GROUND = (90, 110, 100)


def drawn_scene(seed: int, hw: tuple[int, int] = (92, 155)) -> Scene:
    """Two ellipses, a red one on the left and a blue one on the right."""
    rng = np.random.default_rng(seed)
    image, instances, boxes = np.full((*hw, 3), GROUND, np.uint8), np.zeros(hw, np.uint16), []
    for k, colour in enumerate(COLOURS):
        w, h = int(rng.integers(18, 26)), int(rng.integers(40, 60))
        x, y = int(rng.integers(4 + 75 * k, 74 + 75 * k - w)), int(rng.integers(4, 88 - h))
        shape = np.zeros(hw, np.uint8)
        cv2.ellipse(shape, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, 1, -1)
        image[shape > 0] = colour
        instances[shape > 0] = k + 1
        ys, xs = np.nonzero(shape)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return Scene(str(seed), image, np.array(boxes, np.float32), np.full(2, UNKNOWN), instances)


class Drawn:
    identity_count = 0

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        return self.scenes[index]


def drawn(count: int) -> Drawn:
    return Drawn([drawn_scene(seed) for seed in range(count)])


def fit(task: CanvasTask, iterations: int, lr: float = 0.01) -> None:
    """Adam with a learning rate that falls to 0."""
    optimizer = torch.optim.Adam(task.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, iterations)
    task.modules.train()
    for iteration in range(iterations):
        optimizer.zero_grad()
        torch.stack(list(task.losses(task.batch(iteration)).values())).sum().backward()
        optimizer.step()
        schedule.step()
    task.modules.eval()


def backward(task: CanvasTask, iteration: int = 0) -> dict[str, Tensor]:
    task.modules.train()
    losses = task.losses(task.batch(iteration))
    torch.stack(list(losses.values())).sum().backward()
    return losses
