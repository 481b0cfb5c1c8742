"""Recording what PyTorch gives for real pictures, in the form `mgts_trt.evaluation.golden` reads."""

import torch

from mgts_trt.bundle.manifest import Manifest
from mgts_trt.evaluation.golden import EMBEDDINGS
from mgts_trt.precisions.recording import Recording, record_people
from mgts_trt.runtime.modes import mode_instance_map, mode_patches
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet


@torch.no_grad()
def record(
    recording: Recording, name: str, network: FasterRCNN | FCIS | MGTS | IDNet | OIMNet, manifest: Manifest
) -> None:
    """Add what one network gives. Detector and mask net must have been recorded before the others."""
    outputs = recording.outputs
    network.eval()
    if name in EMBEDDINGS:
        for mode in EMBEDDINGS[name]:
            masks = (outputs[f"masknet.{key}"] for key in ("boxes", "scores", "masks"))
            instance_map = mode_instance_map(manifest, mode, *masks)
            boxes = outputs["persons.boxes"]
            patches = mode_patches(manifest, mode, recording.canvas, boxes, instance_map, recording.letterbox)
            inputs = [patches.foreground, patches.original] if name == "mgts" else [patches.original]
            outputs[f"{name}.{mode}"] = network(*(torch.from_numpy(array) for array in inputs)).numpy()
        return
    image = torch.from_numpy(recording.canvas)
    if isinstance(network, OIMNet):
        outputs["joint.rois"] = outputs["persons.boxes"][: network.probes]
        found = network(image, torch.from_numpy(outputs["joint.rois"]))
    else:
        found = network(image)
    outputs.update({f"{name}.{key}": tensor.numpy() for key, tensor in found._asdict().items()})
    if name == "detector":
        record_people(recording)
