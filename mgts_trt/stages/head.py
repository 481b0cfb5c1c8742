"""MGTS's head: from the two streams' feature maps to the embedding (Sec. 3.3, Eq. 1–2), in its algebraic form."""

from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Array, Floats


@dataclass(frozen=True)
class HeadWeights:
    """The head's three matrices, as PyTorch's `Linear` and ONNX's `Gemm` hold them: [outputs, inputs], no biases.

    Attributes:
        squeeze: W₁ of the SE block (Eq. 1) [r, 2C]; inputs are F's C channels, then O's.
        excite: W₂ of the SE block [2C, r].
        fc: The projection onto the embedding [d, 2C].
    """

    squeeze: Array
    excite: Array
    fc: Array


def fused_head(f: Array, o: Array, weights: HeadWeights) -> Floats:
    """Describe N persons by what F-Net and O-Net made of them.

    Concat → SE → GAP → FC → L2 in the paper. Re-weighting scales whole channels and so commutes with pooling,
    GAP(F · w) = w · GAP(F): each map is averaged once, and the rest are products of vectors.

    Args:
        f: F-Net's feature maps [N, C, h, w].
        o: O-Net's feature maps [N, C, h, w].
        weights: See `HeadWeights`.

    Returns:
        float32 [N, d], each row of length 1; computed in float32 whatever the type of the inputs.
    """
    pooled = np.concatenate([x.mean(axis=(2, 3), dtype=np.float32) for x in (f, o)], axis=1)
    squeeze, excite, fc = (np.asarray(w, np.float32) for w in (weights.squeeze, weights.excite, weights.fc))
    hidden = np.maximum(pooled @ squeeze.T, 0)
    excitation = 1 / (1 + np.exp(-(hidden @ excite.T)))
    embedding = (pooled * excitation) @ fc.T
    norm = np.linalg.norm(embedding, axis=1, keepdims=True)
    return np.asarray(embedding / np.maximum(norm, 1e-12), np.float32)
