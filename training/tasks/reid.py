"""The re-ID task: MGTS or IDNet on ground-truth boxes, with OIM (Sec. 3.3, 4.3; the variants of Table 4)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.choices import MODES, Mode
from mgts_trt.errors import MgtsError
from mgts_trt.stages import Letterbox, Patches, expand_boxes, person_patches
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.transforms import jitter_colour, to_canvas
from training.losses.oim import OIM
from training.models import create
from training.preset import Preset

Model = Literal["mgts", "idnet"]
Order = Literal["people", "scenes", "identities"]
Freeze = Literal["first", "none"]

COMPONENTS = ("O", "OE", "F", "FE", "B", "BE", "OF", "OFE")
"""What a network may see (Table 4): original, masked foreground, masked background; E with expanded RoIs."""

ERASED_SIDES = (0.1, 0.5)
"""Range of the sides of an erased part, in shares of the patch's: a hundredth to a quarter of its area. Random erasing
as published takes areas of 0.02 to 0.4 (Zhong et al., AAAI 2020), torchvision's up to 0.33; less here, by eye."""


class ReidTaskError(MgtsError):
    """A re-ID training that cannot be: a senseless combination, or a dataset without what it needs."""


class ReidBatch(NamedTuple):
    """Patches of B people, normalised.

    Attributes:
        inputs: The network's inputs by name, float32 [B, 3, H, W] each.
        labels: int64 [B]: 0 … L−1, or `UNKNOWN`.
    """

    inputs: dict[str, Tensor]
    labels: Tensor


@dataclass(frozen=True)
class People:
    """Everybody in a dataset who has a pixel on the canvas: P people as int64 [P] each, and whether any has a mask."""

    scenes: NDArray[np.int64]
    rows: NDArray[np.int64]
    identities: NDArray[np.int64]
    masks: bool


class ReidTask:
    """Batches of people, the network, and OIM; a `training.tasks.task.Task`.

    Patches are made by the stages that deployment runs: letterbox, then `person_patches`. One epoch shows every
    labelled person once, and unlabelled people up to their share.

    Args:
        preset: Sizes of network, canvas and patches; γ; `augmentation.patches`.
        scenes: The dataset; read once, whole, to find its people.
        model: `mgts` (two streams) or `idnet` (one).
        mode: Where the mask comes from: the scenes' instance maps (`net`), or the tight box (`box`). `none` is for
            IDNet on what needs no mask. By default `none` there and `net` elsewhere.
        components: One of `COMPONENTS`. By default what deployment sees: `OFE` for MGTS, `O` for IDNet.
        seed: Of the initial weights, order and augmentation; not negative.
        batch_size: People in a batch (Sec. 4.3: 128).
        augment: Flip both patches together, move the box and change the colours a little, and erase parts.
        order: `people` draws people one by one. `scenes` keeps those of a scene together, which reads fewer pictures.
            `identities` keeps `per_identity` people of an identity together (P × K sampling).
        per_identity: K of order `identities` (Hermans et al., 2017: 4); an identity with fewer people repeats some.
        unlabelled: Greatest share of unlabelled people in an epoch, 0 … 1 (1 excluded). By default at least half of
            what is computed has a loss; the paper names no share.
        box_share: In mode `net`, the share of patches, 0 … 1, whose mask is the tight box nevertheless: one network
            then serves both modes.
        freeze: "first" freezes conv1, conv2 and the batch normalisations in them; "none" trains everything.
        readers: Threads that look through the dataset.

    Raises:
        ReidTaskError: The combination makes no sense, or the dataset has no labelled people, or no masks for `net`.
    """

    def __init__(
        self,
        preset: Preset,
        scenes: Scenes,
        model: Model = "mgts",
        *,
        mode: Mode | None = None,
        components: str | None = None,
        seed: int = 0,
        batch_size: int = 128,
        augment: bool = True,
        order: Order = "people",
        per_identity: int = 4,
        unlabelled: float = 0.5,
        box_share: float = 0.0,
        freeze: Freeze = "none",
        readers: int = 4,
    ) -> None:
        self.components = components or ("OFE" if model == "mgts" else "O")
        self.mode: Mode = mode or ("none" if self.components.rstrip("E") == "O" else "net")
        _check_choice(model, self.mode, self.components)
        if batch_size < 1 or per_identity < 1 or seed < 0 or not 0 <= unlabelled < 1 or not 0 <= box_share <= 1:
            raise ReidTaskError(
                f"batch_size {batch_size} and per_identity {per_identity} must be at least 1, seed {seed} at least 0, "
                f"0 ≤ unlabelled {unlabelled} < 1 and 0 ≤ box_share {box_share} ≤ 1."
            )
        if freeze not in get_args(Freeze):
            raise ReidTaskError(f"freeze is {freeze!r}; re-ID takes 'first' or 'none'.")
        self._preset, self._scenes, self._batch_size, self._augment = preset, scenes, batch_size, augment
        self._seed, self._order_by, self._per_identity = seed, order, per_identity
        self._gamma = _gamma(preset, self.components)
        self.people = find_people(scenes, preset.canvas, readers=readers)
        labelled = int((self.people.identities != UNKNOWN).sum())
        if not labelled:
            raise ReidTaskError("The dataset has no person with an identity, and OIM needs some. Take another dataset.")
        if self.mode == "net" and not self.people.masks:
            raise ReidTaskError(
                "The dataset has no instance maps, and mode 'net' takes the people's masks from them. Train in mode "
                "'box', or take a dataset with masks."
            )
        others = len(self.people.rows) - labelled
        self._others = min(others, int(labelled * unlabelled / (1 - unlabelled)))
        # An epoch is what one batch after another walks through; the last few are what the following ones ask for.
        self._epoch_order = lru_cache(maxsize=4)(self._epoch_order_of)
        self._box_share = box_share if self.mode == "net" else 0.0
        network = create(model, preset, seed=seed)
        streams = [stream for name, stream in network.named_children() if name in ("f_net", "o_net")]
        self._frozen = [layer for stream in streams for layer in stream.first_layers()] if freeze == "first" else []
        for layer in self._frozen:
            layer.requires_grad_(False)
        self._oim = OIM(scenes.identity_count, preset.embedding)
        self.modules = nn.ModuleDict({"network": network, "oim": self._oim})

    @property
    def epoch_iterations(self) -> int:
        """Iterations of an epoch, at least 1."""
        return max(1, round(len(self._epoch_order(0)) / self._batch_size))

    def batch(self, iteration: int) -> ReidBatch:
        """The patches of one iteration: a function of the dataset, the seed and `iteration`."""
        chosen = self._people_of(iteration)
        inputs = {
            name: np.empty((len(chosen), 3, *self._preset.patch), np.float32)
            for name in (("foreground", "original") if len(self.components.rstrip("E")) == 2 else ("original",))
        }
        # Scene by scene, so that each is read once.
        for number in np.unique(self.people.scenes[chosen]).tolist():
            scene, letterbox = to_canvas(self._scenes[number], self._preset.canvas, self._preset.pad)
            for place in np.flatnonzero(self.people.scenes[chosen] == number).tolist():
                rng = np.random.default_rng([self._seed, 1, iteration, place]) if self._augment else None
                patches = self._patches(scene, int(self.people.rows[chosen[place]]), letterbox, rng)
                for name, values in network_inputs(self._preset, patches, self.components).items():
                    inputs[name][place] = values[0]
        return ReidBatch(
            {name: torch.from_numpy(values) for name, values in inputs.items()},
            torch.from_numpy(self.people.identities[chosen]),
        )

    def losses(self, batch: ReidBatch) -> dict[str, Tensor]:
        """The OIM loss of a batch of B people, `oim`, a scalar (Eq. 3); in training mode OIM then remembers the batch.

        Raises:
            LabelError: A label is none of the dataset's.
        """
        network = self.modules["network"]
        for layer in self._frozen:
            layer.eval()
        device = next(network.parameters()).device
        labels = batch.labels.to(device)
        embeddings = network(**{name: values.to(device) for name, values in batch.inputs.items()})
        loss = self._oim(embeddings, labels)
        if network.training:
            self._oim.update(embeddings.detach(), labels)
        return {"oim": loss}

    def parameters(self) -> list[nn.Parameter]:
        """All of the network's that are not frozen."""
        return [parameter for parameter in self.modules["network"].parameters() if parameter.requires_grad]

    def _people_of(self, iteration: int) -> NDArray[np.int64]:
        """Indices into `people` of one batch: a slice of the endless row of epochs."""
        length = len(self._epoch_order(0))
        places = range(iteration * self._batch_size, (iteration + 1) * self._batch_size)
        return np.array([self._epoch_order(place // length)[place % length] for place in places], np.int64)

    def _epoch_order_of(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, 0, epoch])
        labelled = np.flatnonzero(self.people.identities != UNKNOWN)
        unlabelled = np.flatnonzero(self.people.identities == UNKNOWN)
        chosen = rng.permutation(np.concatenate([labelled, rng.permutation(unlabelled)[: self._others]]))
        if self._order_by == "people":
            return chosen
        keys = (self.people.scenes if self._order_by == "scenes" else self.people.identities)[chosen]
        groups = _groups(chosen, keys)
        if self._order_by == "identities":
            k = self._per_identity
            groups = [np.resize(group[i : i + k], k) for group in groups for i in range(0, len(group), k)]
        return np.concatenate([groups[i] for i in rng.permutation(len(groups))])

    def _patches(self, scene: Scene, row: int, letterbox: Letterbox, rng: np.random.Generator | None) -> Patches:
        """One person's pair of patches."""
        canvas, box, how = scene.image, scene.boxes[row], self._preset.augmentation.patches
        if rng is not None:
            sides = np.tile(box[2:] - box[:2], 2)
            box = box + rng.uniform(-how.box_jitter, how.box_jitter, 4) * sides
        box = letterbox.clip(box)
        if rng is not None:
            x1, y1, x2, y2 = expand_boxes(box, self._gamma, letterbox.content_hw)[0].tolist()
            canvas = canvas.copy()
            canvas[y1:y2, x1:x2] = jitter_colour(np.ascontiguousarray(canvas[y1:y2, x1:x2]), rng, how.colour)
        masked = self.mode == "net" and not (rng is not None and rng.random() < self._box_share)
        patches = _cut(self._preset, canvas, box, scene.instances if masked else None, self._gamma, letterbox)
        if rng is not None:
            self._alter(patches, rng, masked)
        return patches

    def _alter(self, patches: Patches, rng: np.random.Generator, masked: bool) -> None:
        """Flip and erase, in both patches alike, in place."""
        if rng.random() < 0.5:
            for values in (patches.foreground, patches.original):
                values[:] = values[..., ::-1].copy()
        if rng.random() < self._preset.augmentation.patches.erased:
            height, width = self._preset.patch
            h, w = (max(1, int(side * rng.uniform(*ERASED_SIDES))) for side in (height, width))
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            patches.original[..., y : y + h, x : x + w] = 0
            # What hides a person is not in the person's mask; a box as mask does not tell the two apart.
            hidden = _black(self._preset) if masked else 0
            patches.foreground[..., y : y + h, x : x + w] = hidden


def scene_inputs(preset: Preset, scene: Scene, components: str, mode: Mode = "net") -> dict[str, Array]:
    """What a network sees of the N people in a scene: the patches `ReidTask` makes without augmentation.

    Args:
        preset: Sizes of canvas and patches; γ.
        scene: With the masks that mode `net` takes; where it has none, the tight box is the mask.
        components: One of `COMPONENTS`.
        mode: Where the mask comes from.

    Returns:
        The network's inputs by name, float32 [N, 3, H, W] each, normalised.

    Raises:
        ReidTaskError: There are no such components or mode, or they make no sense together.
    """
    _check_choice("mgts" if len(components.rstrip("E")) == 2 else "idnet", mode, components)
    canvas, letterbox = to_canvas(scene, preset.canvas, preset.pad)
    instances = canvas.instances if mode == "net" else None
    boxes = letterbox.clip(canvas.boxes)
    return network_inputs(
        preset, _cut(preset, canvas.image, boxes, instances, _gamma(preset, components), letterbox), components
    )


def network_inputs(preset: Preset, patches: Patches, components: str) -> dict[str, Array]:
    """What a network sees of N people's patches (Table 4): its inputs by name, float32 [N, 3, H, W] each."""
    if "F" in components and "O" in components:
        return {"foreground": patches.foreground, "original": patches.original}
    if "F" in components:
        return {"original": patches.foreground}
    if "B" in components:
        # Resizing and normalising are linear, so this is the patch of (1 − M′) ⊙ I′.
        return {"original": patches.original - patches.foreground + _black(preset)}
    return {"original": patches.original}


def _cut(
    preset: Preset, canvas: Image, boxes: Array, instances: Array | None, gamma: float, letterbox: Letterbox
) -> Patches:
    normalisation = preset.normalisation
    return person_patches(
        canvas,
        boxes,
        instances,
        gamma=gamma,
        patch_hw=preset.patch,
        mean=normalisation.mean,
        std=normalisation.std,
        content_hw=letterbox.content_hw,
    )


def _gamma(preset: Preset, components: str) -> float:
    return preset.gamma if "E" in components else 1.0


def _black(preset: Preset) -> Floats:
    """Black, normalised: [3, 1, 1]."""
    black = -np.array(preset.normalisation.mean) / np.array(preset.normalisation.std)
    return np.asarray(black.reshape(3, 1, 1), np.float32)


def find_people(scenes: Scenes, canvas_hw: tuple[int, int], *, readers: int = 4) -> People:
    """Look through a dataset for all people that cover at least a pixel of the canvas, as the pipeline asks of them.

    Raises:
        ReidTaskError: An identity that the dataset does not count.
    """

    def look(number: int) -> tuple[NDArray[np.int64], Array, bool]:
        scene = scenes[number]
        letterbox = Letterbox((scene.image.shape[0], scene.image.shape[1]), canvas_hw)
        boxes = letterbox.clip(letterbox.to_canvas(scene.boxes))
        rows = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1))
        identities = scene.identities[rows]
        wrong = identities[(identities < UNKNOWN) | (identities >= scenes.identity_count)]
        if len(wrong):
            raise ReidTaskError(
                f"Scene {scene.name} has the identity {wrong[0]}, but the dataset counts {scenes.identity_count}: "
                f"identities are 0 … L−1, or {UNKNOWN}. Mend the dataset."
            )
        return rows, identities, scene.instances is not None

    with ThreadPoolExecutor(readers) as pool:
        found = list(pool.map(look, range(len(scenes))))
    return People(
        scenes=np.repeat(np.arange(len(found)), [len(rows) for rows, _, _ in found]),
        rows=_joined([rows for rows, _, _ in found]),
        identities=_joined([identities for _, identities, _ in found]),
        masks=any(masked for _, _, masked in found),
    )


def _joined(parts: Sequence[Array]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def _groups(values: NDArray[np.int64], keys: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Values of equal keys together, in ascending order of the keys, each group in the order of `values`."""
    order = np.argsort(keys, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(keys[order])) + 1)


def _check_choice(model: str, mode: str, components: str) -> None:
    if components not in COMPONENTS or mode not in MODES or model not in ("mgts", "idnet"):
        raise ReidTaskError(
            f"There is no model {model!r} with mode {mode!r} and components {components!r}: models are mgts and idnet, "
            f"modes {', '.join(MODES)}, components {', '.join(COMPONENTS)}."
        )
    streams = components.rstrip("E")
    if (len(streams) == 2) != (model == "mgts"):
        raise ReidTaskError(
            f"{model} cannot take the components {components!r}: mgts has two streams and takes OF or OFE, idnet has "
            "one and takes O, F or B, each with or without E."
        )
    if mode == "none" and streams != "O":
        raise ReidTaskError(
            f"The components {components!r} need a mask, and mode 'none' has none. Take mode net or box."
        )
    if mode == "box" and components == "B":
        raise ReidTaskError(
            "Without expansion nothing lies around the tight box that mode 'box' takes for the mask: all of B would be "
            "black. Take BE, or mode net."
        )
