from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
import torch

from mgts_trt.errors import MgtsError
from mgts_trt.stages import Letterbox, denormalise, person_patches
from tests.helpers.training_scenes import Streets
from training.data.scene import UNKNOWN, Scene
from training.loop import train
from training.preset import Preset
from training.schedule import Schedule
from training.tasks.people import ReidTaskError, find_people
from training.tasks.reid import ReidTask


def reid(tiny: Preset, scenes: Any = None, model: Any = "mgts", **options: Any) -> ReidTask:
    return ReidTask(tiny, Streets() if scenes is None else scenes, model, **{"batch_size": 5, "readers": 1, **options})


def order(task: ReidTask, iterations: range) -> list[int]:
    return [int(person) for i in iterations for person in task._people_of(i)]


def pixels(tiny: Preset, values: torch.Tensor) -> np.ndarray:
    return denormalise(values.numpy(), tiny.normalisation.mean, tiny.normalisation.std)


@pytest.mark.parametrize("hw", [(83, 120), (184, 310), (300, 200), (92, 155)])
@pytest.mark.parametrize(
    ("model", "mode", "components", "gamma"),
    [
        ("mgts", None, None, 1.3),
        ("mgts", "box", None, 1.3),
        ("mgts", "net", "OF", 1.0),
        ("idnet", None, None, 1.0),
        ("idnet", "none", "OE", 1.3),
    ],
)
def test_patches_are_those_of_deployment(
    tiny: Preset, hw: tuple[int, int], model: str, mode: str | None, components: str | None, gamma: float
) -> None:
    scenes = Streets(hw=hw)
    task = reid(tiny, scenes, model, mode=mode, components=components, augment=False)
    batch = task.batch(0)
    people = task._people_of(0)
    for place, person in enumerate(people):
        scene = scenes[int(task.people.scenes[person])]
        letterbox = Letterbox(hw, tiny.canvas)
        box = letterbox.clip(letterbox.to_canvas(scene.boxes[task.people.rows[person]]))
        instances = None
        if task.mode == "net":
            # The canvas's pixel centres, looked up in the scene's map.
            ys, xs = ((2 * np.arange(n) + 1) * of // (2 * n) for n, of in zip(letterbox.content_hw, hw, strict=True))
            instances = np.zeros(tiny.canvas, np.uint16)
            looked_up = scene.instances[np.ix_(ys, xs)]
            instances[: letterbox.content_hw[0], : letterbox.content_hw[1]] = looked_up
        expected = person_patches(
            letterbox.apply(scene.image, tiny.pad),
            box,
            instances,
            gamma=gamma,
            patch_hw=tiny.patch,
            mean=tiny.normalisation.mean,
            std=tiny.normalisation.std,
            content_hw=letterbox.content_hw,
        )
        np.testing.assert_array_equal(batch.inputs["original"][place], expected.original[0])
        if model == "mgts":
            np.testing.assert_array_equal(batch.inputs["foreground"][place], expected.foreground[0])
        assert batch.labels[place] == scene.identities[task.people.rows[person]]
    assert set(batch.inputs) == ({"foreground", "original"} if model == "mgts" else {"original"})


def test_components_of_table_4(tiny: Preset) -> None:
    """Foreground and background add up to the original, and share no pixel but at the mask's edge."""
    for mode in ("net", "box"):
        made = {
            name: pixels(
                tiny, reid(tiny, model="idnet", mode=mode, components=name, augment=False).batch(0).inputs["original"]
            )
            for name in ("OE", "FE", "BE")
        }
        added = made["FE"].astype(int) + made["BE"]
        assert np.abs(added - made["OE"]).max() <= 1
        both = ((made["FE"] > 0) & (made["BE"] > 0)).all(axis=-1).mean()
        assert 0.2 < (made["FE"] > 0).all(axis=-1).mean() < 0.8
        assert both < 0.2
    mgts = reid(tiny, augment=False).batch(0).inputs
    alone = reid(tiny, model="idnet", components="FE", augment=False).batch(0).inputs
    assert torch.equal(alone["original"], mgts["foreground"])


@pytest.mark.parametrize("by", ["people", "scenes", "identities"])
@pytest.mark.parametrize("augment", [False, True])
def test_a_batch_depends_on_its_number_alone(tiny: Preset, by: str, augment: bool) -> None:
    first, second = (reid(tiny, order=by, augment=augment, seed=3) for _ in range(2))
    expected = [first.batch(i) for i in range(6)]
    for i in (5, 0, 3, 3):
        again = second.batch(i)
        assert torch.equal(again.labels, expected[i].labels)
        for name, values in again.inputs.items():
            assert torch.equal(values, expected[i].inputs[name])
    other = reid(tiny, order=by, augment=augment, seed=4)
    assert order(first, range(6)) != order(other, range(6))


def test_an_epoch_shows_everyone_once(tiny: Preset) -> None:
    task = reid(tiny, batch_size=3)
    assert task.epoch_iterations == 6
    for epoch in range(3):
        shown = order(task, range(6 * epoch, 6 * epoch + 6))
        assert sorted(shown) == list(range(18))
    assert order(task, range(6)) != order(task, range(6, 12))


@pytest.mark.parametrize(("share", "unlabelled"), [(0.0, 0), (0.2, 3), (0.25, 4), (0.9, 6)])
def test_share_of_unlabelled_people(tiny: Preset, share: float, unlabelled: int) -> None:
    task = reid(tiny, unlabelled=share, batch_size=1)
    assert task.epoch_iterations == 12 + unlabelled
    labels = [int(task.people.identities[person]) for person in order(task, range(task.epoch_iterations))]
    assert labels.count(UNKNOWN) == unlabelled


def test_order_by_identities(tiny: Preset) -> None:
    task = reid(tiny, order="identities", per_identity=2, batch_size=8, unlabelled=0)
    for i in range(8):
        labels = task.people.identities[task._people_of(i)]
        assert all(a == b for a, b in labels.reshape(-1, 2))
    # Three of each identity: the third comes twice.
    assert Counter(Counter(order(task, range(2))).values()) == {1: 8, 2: 4}


def test_order_by_scenes_reads_each_scene_once(tiny: Preset) -> None:
    scenes = Streets()
    task = reid(tiny, scenes, order="scenes", batch_size=6)
    scenes.reads.clear()
    task.batch(0)
    assert len(scenes.reads) == len(set(scenes.reads)) == 2
    by_people = reid(tiny, scenes, batch_size=6)
    scenes.reads.clear()
    by_people.batch(0)
    assert len(scenes.reads) == len(set(scenes.reads)) > 2


def test_augmentation_alters_both_patches_alike(tiny: Preset) -> None:
    plain, augmented = reid(tiny, augment=False, batch_size=36), reid(tiny, batch_size=36)
    a, b = plain.batch(0), augmented.batch(0)
    assert torch.equal(a.labels, b.labels)
    original, foreground = pixels(tiny, b.inputs["original"]), pixels(tiny, b.inputs["foreground"])
    before = pixels(tiny, a.inputs["original"])
    flipped = erased = 0
    for i in range(36):
        # What is not black in the foreground is the original's pixel, wherever the mask is whole around it.
        seen = (foreground[i] > 35).all(axis=-1)
        same = (np.abs(foreground[i].astype(int) - original[i]).max(axis=-1) <= 1)[seen].mean()
        assert same > 0.6
        mirror = before[i][:, ::-1]
        likeness = [np.corrcoef(picture.ravel(), original[i].ravel())[0, 1] for picture in (before[i], mirror)]
        flipped += likeness[1] > likeness[0]
        mean = np.abs(original[i].astype(int) - tiny.pad).max(axis=-1) <= 1
        erased += mean.mean() > 0.005
        if mean.mean() > 0.005:
            assert (foreground[i][mean] == 0).all(axis=-1).mean() > 0.9
    assert 8 < flipped < 28
    assert 3 < erased < 24


def test_the_preset_says_how_patches_are_altered(tiny: Preset) -> None:
    def batch(augment: bool = True, **patches: float) -> np.ndarray:
        how = tiny.augmentation.model_copy(update={"patches": tiny.augmentation.patches.model_copy(update=patches)})
        preset = tiny.model_copy(update={"augmentation": how})
        return reid(preset, augment=augment, batch_size=12).batch(0).inputs["original"].numpy()

    plain = batch(augment=False)
    still = {"box_jitter": 0.0, "colour": 0.0, "grey": 0.0, "coarse": 0.0, "erased": 0.0}
    for patch, before in zip(batch(**still), plain, strict=True):
        assert np.array_equal(patch, before) or np.array_equal(patch, before[..., ::-1])
    for name in still:
        changed = batch(**{**still, name: 0.4})
        same = [np.array_equal(a, b) or np.array_equal(a, b[..., ::-1]) for a, b in zip(changed, plain, strict=True)]
        assert not all(same), name


@pytest.mark.parametrize(("model", "components"), [("mgts", "OFE"), ("idnet", "O"), ("idnet", "BE")])
def test_learns(tiny: Preset, tmp_path: Path, model: Any, components: str) -> None:
    """The loss falls well below its start once the centres are known: four identities, each a picture of its own."""
    scenes = Streets(2)
    task = reid(tiny, scenes, model, components=components, mode=None, batch_size=6, augment=False)
    schedule = Schedule(batch_size=6, length=30, optimizer="adamw", lr=5e-3, weight_decay=0, decay="cosine")
    losses: list[float] = []
    train(task, schedule, tmp_path, model=model, preset="tiny", on_step=lambda step: losses.append(step.losses["oim"]))
    # Known centres of length 1 against a queue of zeros: e^30 among 5000.
    assert losses[0] == pytest.approx(np.log(5004), rel=1e-3)
    assert np.mean(losses[-5:]) < 0.2 * losses[0]
    assert (task.modules["oim"].lookup.norm(dim=1) - 1).abs().max() < 1e-5
    assert int(task.modules["oim"].position) == 30 * 2


def test_triplets_are_a_loss_of_their_own(tiny: Preset) -> None:
    task = reid(tiny, model="idnet", order="identities", per_identity=2, batch_size=8, triplet=0.5)
    twice = reid(tiny, model="idnet", order="identities", per_identity=2, batch_size=8, triplet=1.0)
    losses, double = task.losses(task.batch(0)), twice.losses(twice.batch(0))
    assert losses.keys() == {"oim", "triplet"}
    assert losses["triplet"].item() > 0
    assert double["triplet"].item() == pytest.approx(2 * losses["triplet"].item())
    assert double["oim"].item() == pytest.approx(losses["oim"].item())


def test_a_trained_network_is_settled_first(tiny: Preset) -> None:
    """Centres are what the network says of people, and it says of them what it did."""
    task = reid(tiny, model="idnet", mode="none", batch_size=4, unlabelled=0)
    network, people = task.modules["network"], reid(tiny, model="idnet", batch_size=18, augment=False).batch(0)
    network.eval()
    with torch.inference_mode():
        before = network(**people.inputs)
        task.settle()
        after = network(**people.inputs)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    centres = task.modules["oim"].lookup
    assert (centres.norm(dim=1) - 1).abs().max() < 1e-5
    # Of four identities with three pictures each, two pictures make the centre.
    first = [np.flatnonzero(task.people.identities == identity)[:2] for identity in range(4)]
    order = reid(tiny, model="idnet", batch_size=18, augment=False)._people_of(0).tolist()
    for identity, rows in enumerate(first):
        mean = before[[order.index(int(row)) for row in rows]].sum(dim=0)
        torch.testing.assert_close(centres[identity], mean / mean.norm(), rtol=0, atol=1e-4)


class HalfMasked(Streets):
    """Scenes of which every other has masks."""

    def __getitem__(self, index: int) -> Scene:
        scene = super().__getitem__(index)
        return replace(scene, instances=None) if index % 2 else scene


def test_people_without_a_mask_have_the_box(tiny: Preset) -> None:
    """What is erased from one of them is the colour of nothing in both patches, for nobody knows what hides them."""
    task = reid(tiny, HalfMasked(), batch_size=36)
    batch, people = task.batch(0), task._people_of(0)
    masked = task.people.scenes[people] % 2 == 0
    original, foreground = (pixels(tiny, batch.inputs[name]) for name in ("original", "foreground"))
    for place in np.flatnonzero(~masked):
        erased = np.abs(original[place].astype(int) - tiny.pad).max(axis=-1) <= 1
        assert np.abs(foreground[place][erased].astype(int) - tiny.pad).max(initial=0) <= 1
    black = (foreground == 0).all(axis=-1).mean(axis=(1, 2))
    assert black[masked].mean() > 2 * black[~masked].mean()


def test_evaluation_remembers_nothing(tiny: Preset) -> None:
    task = reid(tiny, model="idnet")
    task.modules.eval()
    task.losses(task.batch(0))
    assert not task.modules["oim"].lookup.any()


def test_initial_weights_follow_the_seed(tiny: Preset) -> None:
    a, b, c = (reid(tiny, model="idnet", seed=seed).modules["network"].fc.weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("scenes", "options", "says"),
    [
        (Streets(), {"model": "mgts", "components": "O"}, "mgts cannot take the components 'O'"),
        (Streets(), {"model": "idnet", "components": "OFE"}, "idnet cannot take the components 'OFE'"),
        (Streets(), {"model": "idnet", "components": "F", "mode": "none"}, "need a mask, and mode 'none'"),
        (Streets(), {"model": "mgts", "mode": "none"}, "need a mask, and mode 'none'"),
        (Streets(), {"model": "idnet", "components": "B", "mode": "box"}, "all of B would be black"),
        (Streets(), {"components": "X"}, "components 'X': models are"),
        (Streets(), {"mode": "mask"}, "mode 'mask'"),
        (Streets(), {"model": "osnet"}, "model 'osnet'"),
        (Streets(masks=False), {}, "no instance maps"),
        (Streets(0), {}, "no person with an identity"),
        (Streets(), {"batch_size": 0}, "batch_size 0"),
        (Streets(), {"triplet": -1.0, "order": "identities"}, r"triplet is -1\.0"),
        (Streets(), {"triplet": 1.0}, "triplets need several people of an identity"),
        (Streets(), {"triplet": 1.0, "order": "identities", "per_identity": 1}, "with 2 or more of each"),
        (Streets(), {"unlabelled": 1.0}, r"unlabelled 1\.0"),
        (Streets(), {"seed": -1}, "seed -1"),
    ],
)
def test_senseless_tasks_are_refused(tiny: Preset, scenes: Streets, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ReidTaskError, match=says) as caught:
        reid(tiny, scenes, **options)
    assert isinstance(caught.value, MgtsError)


def test_masks_are_not_needed_without_mode_net(tiny: Preset) -> None:
    for options in ({"mode": "box"}, {"model": "idnet"}):
        assert len(reid(tiny, Streets(masks=False), **options).batch(0).labels) == 5


class Odd(Streets):
    """A scene with a box beside the picture, one of no size, and a wrong identity where asked."""

    def __init__(self, identity: int = 0) -> None:
        super().__init__(2)
        self._identity = identity

    def __getitem__(self, index: int) -> Scene:
        image = np.full((40, 60, 3), 90, np.uint8)
        boxes = np.array([[70, 5, 90, 30], [5, 5, 5, 30], [-10, -10, 20, 50]], np.float32)
        return Scene(f"odd-{index}", image, boxes, np.array([0, 0, self._identity]))


def test_people_without_a_pixel_are_left_out(tiny: Preset) -> None:
    people = find_people(Odd(), tiny.canvas)
    assert people.rows.tolist() == [2, 2]
    assert people.scenes.tolist() == [0, 1]
    assert not people.masks


@pytest.mark.parametrize("identity", [4, -2])
def test_identities_are_checked(tiny: Preset, identity: int) -> None:
    with pytest.raises(ReidTaskError, match=f"Scene odd-0 has the identity {identity}, but the dataset counts 4"):
        reid(tiny, Odd(identity), mode="box")
