"""What the tasks of detector and mask net have in common: they learn from whole scenes on canvases."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import MgtsError
from training.data.datasets.mix import Order
from training.data.files import keep_instances
from training.data.scene import Scene, Scenes
from training.data.transforms import Augmentation, mosaic, mosaic_places, part_for, to_canvas
from training.losses.detection import Truth
from training.models import create
from training.models.backbone import Backbone
from training.preset import Preset, SceneAugmentation

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
    how = preset.augmentation.scenes
    if rng is None:
        changed = _changed(scene, how, lambda same: same)
    else:
        augmentation = _augmentation(how, how.zoom)
        changed = _changed(scene, how, lambda whole: augmentation(whole, rng, preset.pad))
    return _truth(to_canvas(changed, preset.canvas, preset.pad)[0], how)


def draw_mosaic(scenes: Sequence[Scene], preset: Preset, rng: np.random.Generator) -> tuple[Image, Truth]:
    """Parts of four scenes on one canvas, see `training.data.transforms.mosaic`.

    Args:
        scenes: Four.
        preset: As for `draw_scene`; the zoom is not used, for a mosaic has its own.
        rng: Augments each scene, and chooses its part.

    Returns:
        As for `draw_scene`. Without an instance map where one of the scenes shows people and has none.
    """
    how = preset.augmentation.scenes
    augmentation = _augmentation(how, (1.0, 1.0))
    parts = []
    for scene, place in zip(scenes, mosaic_places(preset.canvas, rng), strict=True):
        part = _changed(
            scene,
            how,
            lambda whole, place=place: part_for(augmentation(whole, rng, preset.pad), place, rng),
        )
        parts.append((part, place))
    return _truth(mosaic(parts, preset.canvas, preset.pad), how)


def _augmentation(how: SceneAugmentation, zoom: tuple[float, float]) -> Augmentation:
    # Everyone of whom anything is visible stays: `seen` decides who is a person still.
    return Augmentation(zoom=zoom, colour=how.colour, camera=how.camera, min_visible=0)


def _changed(scene: Scene, how: SceneAugmentation, change: Callable[[Scene], Scene]) -> Scene:
    """A scene after a change that moves or cuts it; people of whom less than `how.seen` is left are ignored then."""
    height, width = scene.image.shape[:2]
    whole = _areas(scene.boxes)
    # Rows stand in for identities: they tell which people a crop has left.
    inside, identities = np.clip(scene.boxes, 0, (width, height, width, height)).astype(np.float32), scene.identities
    scene = change(replace(scene, boxes=inside, identities=np.arange(len(inside))))
    seen = _areas(scene.boxes)
    people = seen >= how.seen * whole[scene.identities]
    scene = replace(scene, identities=identities[scene.identities])
    return _of_people(scene, people & (seen > 0), scene.boxes[~people & (seen > 0)])


def _truth(drawn: Scene, how: SceneAugmentation) -> tuple[Image, Truth]:
    """What is on a canvas, those too small for `how.smallest` ignored."""
    people = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).min(axis=1, initial=np.inf) >= how.smallest
    drawn = _of_people(drawn, people, drawn.boxes[~people])
    instances = None if drawn.instances is None else torch.from_numpy(drawn.instances.astype(np.int64))
    boxes, ignored, others = (torch.from_numpy(part) for part in (drawn.boxes, drawn.ignored, drawn.others))
    identities = torch.from_numpy(np.asarray(drawn.identities, np.int64))
    return drawn.image, Truth(boxes, ignored, instances, others, identities)


def _of_people(scene: Scene, kept: NDArray[np.bool_], ignored: Floats) -> Scene:
    """A scene with some of its people alone, and more that is ignored."""
    instances = None if scene.instances is None else keep_instances(scene.instances, np.flatnonzero(kept))
    return replace(
        scene,
        boxes=scene.boxes[kept],
        identities=scene.identities[kept],
        instances=instances,
        ignored=np.concatenate([scene.ignored, ignored]),
    )


def _areas(boxes: Floats) -> Floats:
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


Network = TypeVar("Network", bound=nn.Module)


class CanvasTask(ABC, Generic[Network]):
    """A network that learns from whole scenes; a `Task` but for the losses of its batches.

    Args:
        preset: The network's.
        scenes: To learn from, in the `Order` of the seed: each once an epoch, or by the shares of a `Mixed`.
        seed: Of the first weights, order, augmentation, sampling and dropout.
        batch_size: Scenes an iteration.
        augment: See `draw_scene`.
        freeze: "paper" freezes conv1, conv2 (Sec. 4.3) and every batch normalisation, for networks that start from
            trained weights. "first" freezes conv1, conv2 and the batch normalisations in them. "backbone" trains what
            stands on the backbone alone, in a fraction of the time. "none" trains everything.

    Raises:
        TaskError: There are no scenes, or batches are too small for what is asked.
    """

    model: ClassVar[str]
    """The network's name in `training.models.CLASSES`."""

    def __init__(
        self,
        preset: Preset,
        scenes: Scenes,
        *,
        seed: int = 0,
        batch_size: int = 1,
        augment: bool = True,
        freeze: Freeze = "paper",
    ) -> None:
        self.network = network = cast(Network, create(self.model, preset, seed=seed))
        backbone = self.backbone
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
        self._preset, self._scenes, self._order = preset, scenes, Order.of(scenes, seed)
        self._seed, self._batch_size, self._augment = seed, batch_size, augment
        for module in self._frozen:
            module.requires_grad_(False)

    def batch(self, iteration: int) -> SceneBatch:
        """The scenes of one iteration, uint8 [B, Hc, Wc, 3] and their people."""
        drawn = []
        for place in range(iteration * self._batch_size, (iteration + 1) * self._batch_size):
            scene = self._scenes[self._order(place)]
            rng = np.random.default_rng([self._seed, 1, place]) if self._augment else None
            share = self._preset.augmentation.scenes.mosaic
            if rng is not None and share > 0 and rng.random() < share:
                others = [self._scenes[self._order(int(other))] for other in rng.integers(2**32, size=3)]
                drawn.append(draw_mosaic([scene, *others], self._preset, rng))
            else:
                drawn.append(draw_scene(scene, self._preset, rng))
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

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """What the network is built on."""

    @abstractmethod
    def _losses(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch that is on the network's device."""
