"""What a network sees, and how well it recognises people by it (Sec. 4.5, Table 4)."""

import shlex
from pathlib import Path

from mgts_trt.evaluation.metrics import RankingResult
from training.data.scene import Scenes
from training.evaluation.analyses.trained import as_arrays, check_run, load_network
from training.evaluation.measure import OnStep, describe_people, rank_people
from training.preset import Preset
from training.tasks.reid import COMPONENTS, scene_inputs

PAPER = {
    "O": (78.5, 81.7),
    "F": (75.3, 78.7),
    "B": (34.2, 35.9),
    "OE": (77.7, 81.1),
    "BE": (38.7, 40.0),
    "OFE": (89.1, 90.0),
}
"""mAP and top-1 of the paper's Table 4, %."""


def find_weights(runs: Path) -> dict[str, Path | None]:
    """The weights in a folder of runs, one sub-folder a set of components; None where they are not there yet."""
    paths = {name: runs / name / f"{model_of(name)}.safetensors" for name in COMPONENTS}
    return {name: path if path.is_file() else None for name, path in paths.items()}


def model_of(components: str) -> str:
    """The network that takes these components: two streams or one."""
    return "mgts" if components.startswith("OF") else "idnet"


def evaluate_components(
    weights: Path, preset: Preset, scenes: Scenes, components: str, *, device: str, on_step: OnStep
) -> RankingResult:
    """Re-ID on ground-truth boxes of a network in PyTorch, on the patches that it was trained on, without augmentation.

    Masks are the scenes' own. The protocol is `training.evaluation.measure.rank_people`.

    Args:
        weights: Checkpoint of the network.
        preset: Its preset, with the size of its patches.
        scenes: Labelled identities, with masks.
        components: One of `COMPONENTS`.
        device: PyTorch's name.
        on_step: Called after each scene.

    Raises:
        CheckpointError: The weights are damaged, or of another network.
        AnalysisError: The run beside them was trained on other components.
        MetricError: The scenes have no identity that two cameras saw.
    """
    check_run(weights, {"components": components})
    network = load_network(weights, preset, model_of(components), device)
    return rank_people(
        *describe_people(
            scenes, lambda scene: scene_inputs(preset, scene, components), as_arrays(network, device), on_step=on_step
        )
    )


def training_command(root: Path, runs: Path, data: str, preset: str, components: str) -> str:
    """The command that trains one network of the study, in a shell's words."""
    options = {"--model": model_of(components), "--components": components, "--data": data, "--preset": preset}
    options |= {"--root": str(root), "--out": str(runs / components)}
    return shlex.join(["python", "-m", "training", "reid", *(word for option in options.items() for word in option)])
