"""Putting a labelled set into a bundle, with what the PyTorch networks give for it through the deployed stages."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from export.references.torch_session import TorchSession
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import LABELLED, REFERENCE
from mgts_trt.bundle.manifest import BundleFile, Labelled, Manifest
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.evaluation.task_run import run_task, save_run
from mgts_trt.runtime.modes import held_modes
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet


def add_labelled(
    root: Path,
    manifest: Manifest,
    labelled: LabelledSet,
    networks: Mapping[str, FasterRCNN | FCIS | MGTS | IDNet | OIMNet],
    *,
    on_picture: Callable[[], None] = lambda: None,
) -> Labelled:
    """Copy a set to `root/labelled` and write the reference beside it.

    Args:
        root: The bundle in the making.
        manifest: Its manifest, with all models.
        labelled: The set; its pictures come into the bundle as they are.
        networks: All models' networks, as exported.
        on_picture: Called after each picture.

    Returns:
        The manifest's entry.

    Raises:
        ImageError: A picture cannot be read.
        BackendError: A network does not keep its contract.
    """
    for file in labelled.files:
        (root / LABELLED / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(labelled.root / file, root / LABELLED / file)
    sessions = {name: TorchSession(name, network, manifest.models[name]) for name, network in networks.items()}
    # Nothing but the networks differs from the deployed pipeline.
    run = run_task(Bundle(root, manifest), sessions, labelled, held_modes(manifest), on_picture=on_picture)
    save_run(root / REFERENCE, run)
    labels, *pictures = (BundleFile.of(root, f"{LABELLED}/{file}") for file in labelled.files)
    return Labelled(labels=labels, pictures=tuple(pictures), reference=BundleFile.of(root, REFERENCE))
