"""The re-ID task: MGTS or IDNet on ground-truth boxes, with OIM (Sec. 3.3, 4.3; the variants of Table 4)."""

import math
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.choices import SEPARATE_MODES, Mode
from mgts_trt.stages import Letterbox, Patches, expand_boxes, person_patches
from training.data.patch_transforms import other_camera
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.transforms import to_canvas
from training.losses.oim import OIM
from training.losses.triplet import batch_hard_triplet
from training.models import create
from training.models.statistics import measure_statistics
from training.preset import Preset
from training.tasks.people import Order, ReidTaskError, by_key, by_turns, epoch_order, find_people

Model = Literal["mgts", "idnet"]
Freeze = Literal["first", "none"]

COMPONENTS = ("O", "OE", "F", "FE", "B", "BE", "OF", "OFE")
"""What a network may see (Table 4): original, masked foreground, masked background; E with expanded RoIs."""

ERASED_SIDES = (0.1, 0.5)
"""Range of the sides of an erased part, in shares of the patch's: a hundredth to a quarter of its area. Random erasing
as published takes areas of 0.02 to 0.4 (Zhong et al., AAAI 2020), torchvision's up to 0.33; less here, by eye."""


_FIRST_SEEN = 2
"""Pictures of an identity, from different cameras where there are, of which its first centre is made."""


_SETTLED_ON = 8
"""Batches that statistics are measured on: about 500 patches with `crops`' batches of 64. By judgement."""


class ReidBatch(NamedTuple):
    """Patches of B people, normalised.

    Attributes:
        inputs: The network's inputs by name, float32 [B, 3, H, W] each.
        labels: int64 [B]: 0 … L−1, or `UNKNOWN`.
    """

    inputs: dict[str, Tensor]
    labels: Tensor


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
            `identities` keeps `per_identity` people of an identity together (P × K sampling), from different cameras
            where it can.
        per_identity: K of order `identities` (Hermans et al., 2017: 4); an identity with fewer people repeats some.
        unlabelled: Greatest share of unlabelled people in an epoch, 0 … 1 (1 excluded). By default at least half of
            what is computed has a loss; the paper names no share.
        box_share: In mode `net`, the share of patches, 0 … 1, whose mask is the tight box nevertheless: one network
            then serves both modes. People without a mask have the box anyway.
        triplet: Weight of the batch-hard triplet loss beside OIM, at least 0; it needs order `identities`.
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
        triplet: float = 0.0,
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
        if not 0 <= triplet < math.inf or (triplet and (order != "identities" or per_identity < 2)):
            raise ReidTaskError(
                f"triplet is {triplet} with order {order!r} and per_identity {per_identity}; a weight of at least 0 is "
                "expected, and triplets need several people of an identity in a batch: order 'identities' with 2 or "
                "more of each."
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
        self._triplet = triplet
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
        return self._batch_of(self._people_of(iteration), iteration if self._augment else None)

    def _batch_of(self, chosen: NDArray[np.int64], iteration: int | None) -> ReidBatch:
        """The patches of these people, altered as chance has it in an iteration, or left alone."""
        inputs = {
            name: np.empty((len(chosen), 3, *self._preset.patch), np.float32)
            for name in (("foreground", "original") if len(self.components.rstrip("E")) == 2 else ("original",))
        }
        # Scene by scene, so that each is read once.
        for number in np.unique(self.people.scenes[chosen]).tolist():
            scene, letterbox = to_canvas(self._scenes[number], self._preset.canvas, self._preset.pad)
            for place in np.flatnonzero(self.people.scenes[chosen] == number).tolist():
                rng = None if iteration is None else np.random.default_rng([self._seed, 1, iteration, place])
                patches = self._patches(scene, int(self.people.rows[chosen[place]]), letterbox, rng)
                for name, values in network_inputs(self._preset, patches, self.components).items():
                    inputs[name][place] = values[0]
        return ReidBatch(
            {name: torch.from_numpy(values) for name, values in inputs.items()},
            torch.from_numpy(self.people.identities[chosen]),
        )

    def losses(self, batch: ReidBatch) -> dict[str, Tensor]:
        """The losses of a batch of B people, scalars; in training mode OIM then remembers the batch.

        Returns:
            `oim` (Eq. 3), and with a weight `triplet`, weighted.

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
        if self._triplet:
            return {"oim": loss, "triplet": self._triplet * batch_hard_triplet(embeddings, labels)}
        return {"oim": loss}

    @torch.inference_mode()
    def settle(self) -> None:
        """Make ready to go on from a trained network, whose statistics and centres no checkpoint holds.

        Batch normalisations get the statistics of the first batches. OIM gets as each centre the mean of what the
        network says of a few pictures: a centre that is 0 draws nobody, so that a trained network would learn nothing
        for an epoch but to forget that people look alike.
        """
        network = self.modules["network"]
        training, device = network.training, next(network.parameters()).device
        batches = (self.batch(iteration).inputs for iteration in range(_SETTLED_ON))
        measure_statistics(network, ({name: v.to(device) for name, v in inputs.items()} for inputs in batches))
        network.eval()
        labelled = np.flatnonzero(self.people.identities != UNKNOWN)
        chosen = np.concatenate(
            [
                by_turns(group, self.people.cameras[group])[:_FIRST_SEEN]
                for group in by_key(labelled, self.people.identities[labelled])
            ]
        )
        sums = torch.zeros_like(self._oim.lookup)
        for start in range(0, len(chosen), self._batch_size):
            batch = self._batch_of(chosen[start : start + self._batch_size], None)
            rows = network(**{name: values.to(device) for name, values in batch.inputs.items()})
            sums.index_add_(0, batch.labels.to(device), rows.to(sums.dtype))
        self._oim.lookup.copy_(functional.normalize(sums, dim=1))
        network.train(training)

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
        return epoch_order(self.people, rng, self._order_by, per_identity=self._per_identity, others=self._others)

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
            canvas[y1:y2, x1:x2] = other_camera(np.ascontiguousarray(canvas[y1:y2, x1:x2]), rng, how)
        masked = self.mode == "net" and scene.instances is not None
        masked = masked and not (rng is not None and rng.random() < self._box_share)
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


def _check_choice(model: str, mode: str, components: str) -> None:
    if components not in COMPONENTS or mode not in SEPARATE_MODES or model not in ("mgts", "idnet"):
        raise ReidTaskError(
            f"There is no model {model!r} with mode {mode!r} and components {components!r}: models are mgts and idnet, "
            f"modes {', '.join(SEPARATE_MODES)}, components {', '.join(COMPONENTS)}."
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
