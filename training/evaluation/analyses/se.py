"""Which stream the SE block listens to (Sec. 4.6, Fig. 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgts_trt._typing import Array, Ints
from mgts_trt.choices import Mode
from mgts_trt.pictures.figures import new_figure
from training.data.scene import Scenes
from training.evaluation.analyses.trained import as_arrays, check_run, load_network
from training.evaluation.measure import OnStep, describe_people
from training.models.reid import MGTS
from training.preset import Preset
from training.tasks.reid import scene_inputs

TOP = 20
"""Largest weights of a person that are looked at (N20)."""


@dataclass(frozen=True, eq=False)
class SEStatistics:
    """The SE weights of P people.

    Attributes:
        average_f: float64 [P], Avg(F): mean weight of F-Net's channels, 0 … 1.
        average_o: float64 [P], Avg(O): mean weight of O-Net's.
        n20: int32 [P], N20(F): how many of the `TOP` largest weights are F-Net's.
    """

    average_f: NDArray[np.float64]
    average_o: NDArray[np.float64]
    n20: Ints

    @property
    def histogram(self) -> list[int]:
        """How many people have N20(F) = 0, 1, … `TOP`."""
        return [int(count) for count in np.bincount(self.n20, minlength=TOP + 1)]

    def summary(self) -> dict[str, float]:
        """Means over all people, and the share of people for whom Avg(F) > Avg(O)."""
        return {
            "people": len(self.n20),
            "Avg(F)": float(self.average_f.mean()),
            "Avg(O)": float(self.average_o.mean()),
            "Avg(F) > Avg(O)": float((self.average_f > self.average_o).mean()),
            "N20(F)": float(self.n20.mean()),
        }


def se_statistics(weights: Array) -> SEStatistics:
    """The paper's three numbers of each person.

    Args:
        weights: [P, 2c], F-Net's channels first, as Sec. 3.3 concatenates them.
    """
    c = weights.shape[1] // 2
    f, o = weights[:, :c], weights[:, c:]
    # Channels of the two streams in turn, so that a stable order favours neither among equal weights.
    in_turn = np.stack([f, o], axis=2).reshape(len(weights), 2 * c)
    largest = np.argsort(-in_turn, axis=1, kind="stable")[:, :TOP]
    n20 = (largest % 2 == 0).sum(axis=1).astype(np.int32)
    return SEStatistics(f.mean(axis=1, dtype=np.float64), o.mean(axis=1, dtype=np.float64), n20)


def inspect_weights(
    checkpoint: Path, preset: Preset, scenes: Scenes, *, mode: Mode, device: str, on_step: OnStep
) -> SEStatistics:
    """The SE weights of everybody in the scenes, from ground-truth boxes.

    Args:
        checkpoint: Of MGTS.
        preset: Its preset, with the size of its patches.
        scenes: With masks, for mode `net`.
        mode: `net` or `box`.
        device: PyTorch's name.
        on_step: Called after each scene.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another network.
        AnalysisError: The run beside it was trained on other components.
        MetricError: The scenes show nobody.
    """
    check_run(checkpoint, {"components": "OFE"})
    network = cast(MGTS, load_network(checkpoint, preset, "mgts", device))
    network.se.double()  # in float32 the sigmoid reaches 1 early, and the largest weights would be equal

    def weights(foreground: Tensor, original: Tensor) -> Tensor:
        features = torch.cat([network.f_net(foreground), network.o_net(original)], dim=1)
        return network.se.weights(features.double().mean(dim=(2, 3)))

    described, _, _ = describe_people(
        scenes, lambda scene: scene_inputs(preset, scene, "OFE", mode), as_arrays(weights, device), on_step=on_step
    )
    return se_statistics(described)


def draw_statistics(statistics: Mapping[str, SEStatistics]) -> Any:
    """A row of two panels for each network: the histogram of N20(F), and the averages of every person."""
    figure = new_figure(9, 3.4 * len(statistics))
    for row, (name, values) in enumerate(statistics.items()):
        histogram = figure.add_subplot(len(statistics), 2, 2 * row + 1)
        histogram.bar(range(TOP + 1), values.histogram, width=0.9)
        histogram.axvline(TOP / 2, color="grey", linestyle=":", linewidth=1)
        histogram.set(
            xlabel=f"N{TOP}(F): F-Net's among the {TOP} largest weights",
            ylabel="people",
            title=name,
            xlim=(-1, TOP + 1),
        )
        histogram.set_xticks(range(0, TOP + 1, 2))
        averages = figure.add_subplot(len(statistics), 2, 2 * row + 2)
        averages.scatter(values.average_o, values.average_f, s=5, alpha=0.4)
        both = np.concatenate([values.average_o, values.average_f])
        ends = [both.min(), both.max()]
        averages.plot(ends, ends, color="grey", linestyle=":", linewidth=1)
        share = values.summary()["Avg(F) > Avg(O)"]
        averages.set(
            xlabel="Avg(O), mean weight of O-Net", ylabel="Avg(F), of F-Net", title=f"Avg(F) > Avg(O) for {share:.1%}"
        )
    return figure
