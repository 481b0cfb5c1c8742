"""What the tasks of detector and mask net have in common: they learn from whole scenes on canvases."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import MgtsError
from training.data.files import keep_instances
from training.data.scene import Scene, Scenes
from training.data.transforms import Augmentation, to_canvas
from training.losses.detection import Truth
from training.models.backbone import Backbone
from training.preset import Preset

Freeze = Literal["paper", "first", "backbone", "none"]


class TaskError(MgtsError):
    """A task that cannot be trained as asked."""


class SceneBatch(NamedTuple):
    """Scenes on canvases."""

    images: Tensor
    """uint8 [B, Hc, Wc, 3]."""
    truths: list[Truth]
    """One for each canvas."""
    iteration: int


def draw_scene(scene: Scene, preset: Preset, rng: np.random.Generator | None) -> tuple[Image, Truth]:
    """A scene on the preset's canvas, letterboxed as in deployment.

    Args:
        scene: The picture and its people.
        preset: Has the canvas, the colour beside the picture, and `augmentation.scenes`.
        rng: Augments the scene. None draws it as deployment does.

    Returns:
        Canvas uint8 [Hc, Wc, 3] and its people. Boxes are cut to what is seen of the picture.
    """
    height, width = scene.image.shape[:2]
    how, whole = preset.augmentation.scenes, _areas(scene.boxes)
    # Rows stand in for identities: they tell which people a crop has left.
    inside = np.clip(scene.boxes, 0, (width, height, width, height)).astype(np.float32)
    scene = replace(scene, boxes=inside, identities=np.arange(len(inside)))
    if rng is not None:
        # Everyone of whom anything is visible stays: `seen` decides who is a person still.
        augmentation = Augmentation(zoom=how.zoom, colour=how.colour, camera=how.camera, min_visible=0)
        scene = augmentation(scene, rng, preset.pad)
    seen, whole = _areas(scene.boxes), whole[scene.identities]
    drawn, _ = to_canvas(scene, preset.canvas, preset.pad)
    sides = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).min(axis=1)
    people = (seen >= how.seen * whole) & (sides >= how.smallest)
    ignored = np.concatenate([drawn.boxes[~people & (seen > 0)], drawn.ignored])
    instances = None
    if drawn.instances is not None:
        instances = torch.from_numpy(keep_instances(drawn.instances, np.flatnonzero(people)).astype(np.int64))
    boxes, ignored, others = (torch.from_numpy(part) for part in (drawn.boxes[people], ignored, drawn.others))
    return drawn.image, Truth(boxes, ignored, instances, others)


def _areas(boxes: Floats) -> Floats:
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


class CanvasTask(ABC):
    """A network that learns from whole scenes; a `Task` but for the losses of its batches.

    Args:
        network: Learns.
        backbone: What it is built on.
        preset: The network's.
        scenes: To learn from; each is seen once an epoch, in a new order.
        seed: Of order, augmentation, sampling and dropout.
        batch_size: Scenes an iteration.
        augment: See `draw_scene`.
        freeze: "paper" freezes conv1, conv2 (Sec. 4.3) and every batch normalisation, for networks that start from
            trained weights. "first" freezes conv1, conv2 and the batch normalisations in them. "backbone" trains what
            stands on the backbone alone, in a fraction of the time. "none" trains everything.

    Raises:
        TaskError: There are no scenes, or batches are too small for what is asked.
    """

    def __init__(
        self,
        network: nn.Module,
        backbone: Backbone,
        preset: Preset,
        scenes: Scenes,
        *,
        seed: int,
        batch_size: int,
        augment: bool,
        freeze: Freeze,
    ) -> None:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        if not len(scenes):
            raise TaskError("There are 0 scenes to learn from; at least 1 was expected. Give another dataset.")
        if freeze not in get_args(Freeze):
            raise TaskError(f"freeze is {freeze!r}; one of {', '.join(get_args(Freeze))} was expected.")
        frozen: dict[Freeze, Sequence[nn.Module]] = {
            "paper": [*backbone.first_layers(), *norms],
            "first": backbone.first_layers(),
            "backbone": [cast(nn.Module, backbone)],
            "none": [],
        }
        self._frozen = frozen[freeze]
        at_rest = {module for part in self._frozen for module in part.modules()}
        smallest = 1 if at_rest.issuperset(norms) else 2
        if batch_size < smallest:
            raise TaskError(
                f"batch_size is {batch_size}; with freeze={freeze!r} at least {smallest} was expected, for batch "
                "normalisation learns from several pictures. Raise it, or freeze as the paper does."
            )
        self.modules = nn.ModuleDict({"network": network})
        self._preset, self._scenes = preset, scenes
        self._seed, self._batch_size, self._augment = seed, batch_size, augment
        for module in self._frozen:
            module.requires_grad_(False)

    def batch(self, iteration: int) -> SceneBatch:
        """The scenes of one iteration, uint8 [B, Hc, Wc, 3] and their people."""
        drawn = []
        for place in range(iteration * self._batch_size, (iteration + 1) * self._batch_size):
            epoch, position = divmod(place, len(self._scenes))
            order = np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._scenes))
            rng = np.random.default_rng([self._seed, 1, place]) if self._augment else None
            drawn.append(draw_scene(self._scenes[int(order[position])], self._preset, rng))
        images = torch.from_numpy(np.stack([canvas for canvas, _ in drawn]))
        return SceneBatch(images, [truth for _, truth in drawn], iteration)

    def losses(self, batch: SceneBatch) -> dict[str, Tensor]:
        """Named scalar losses. They depend on weights and batch alone: even dropout draws by seed and iteration."""
        for module in self._frozen:
            module.eval()
        device = next(self.modules.parameters()).device
        truths = [truth.to(device) for truth in batch.truths]
        generator = torch.Generator()
        sampling, dropout = np.random.SeedSequence([self._seed, 2, batch.iteration]).generate_state(2).tolist()
        generator.manual_seed(sampling)
        on_gpu = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if on_gpu else []):
            torch.default_generator.manual_seed(dropout)
            if on_gpu:
                torch.cuda.manual_seed(dropout)
            return self._losses(batch.images.to(device), truths, generator)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.modules.parameters() if parameter.requires_grad]

    @abstractmethod
    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch that is on the network's device."""
