"""A re-ID network of another project, to be measured on the same people."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.metrics import RankingResult
from training.data.scene import Scene, Scenes
from training.evaluation.measure import OnStep, describe_people, no_step, rank_people

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, on the scale of 0 … 1."""


class PeerError(MgtsError):
    """A file that is no re-ID network as torchreid exports them."""


class Peer:
    """A network of the kind that torchreid exports (Zhou & Xiang, 2019), on the CPU.

    It takes crops float32 [N, 3, H, W], usually 256×128, RGB, normalised by ImageNet's mean and standard deviation,
    and gives a row of features each.

    Args:
        path: The ONNX file.

    Raises:
        PeerError: No such file, or none with one such input.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base but this
            raise PeerError(f"{path} cannot be opened as an ONNX file: {error}. Name a re-ID network.") from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            raise PeerError(
                f"{path} takes {[(each.name, each.shape) for each in inputs]}, but one input [N, 3, H, W] with H and W "
                "fixed is expected. Name a network as torchreid exports it."
            )
        self._input, self._size, self._one = inputs[0].name, (shape[2], shape[3]), shape[0] == 1

    def inputs(self, scene: Scene) -> dict[str, Array]:
        """The crops of the N people of a scene, by the input's name."""
        return {self._input: np.stack([self._crop(scene, row) for row in range(len(scene.boxes))])}

    def describe(self, batch: dict[str, Array]) -> Floats:
        """Features float32 [N, D] of length 1 of N crops."""
        crops = batch[self._input]
        parts = [crops[i : i + 1] for i in range(len(crops))] if self._one else [crops]
        rows = np.concatenate(
            [self._session.run(None, {self._input: part})[0].reshape(len(part), -1) for part in parts]
        )
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)

    def _crop(self, scene: Scene, row: int) -> Floats:
        height, width = scene.image.shape[:2]
        x1, y1 = np.clip(np.floor(scene.boxes[row, :2]), 0, (width - 1, height - 1)).astype(int)
        x2, y2 = np.clip(np.ceil(scene.boxes[row, 2:]), (x1 + 1, y1 + 1), (width, height)).astype(int)
        crop = cv2.resize(scene.image[y1:y2, x1:x2], self._size[::-1], interpolation=cv2.INTER_LINEAR)
        values = (crop.astype(np.float32) / 255 - _MEAN) / _STD
        return values.transpose(2, 0, 1).astype(np.float32)


def peer_reid(peer: Peer, scenes: Scenes, *, on_step: OnStep = no_step) -> RankingResult:
    """What `training.evaluation.measure.reid` measures of a bundle, of a peer: same queries, same gallery."""
    return rank_people(*describe_people(scenes, peer.inputs, peer.describe, on_step=on_step))
