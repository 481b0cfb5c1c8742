from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import nn
from torchvision import ops

from mgts_trt.stages import Letterbox
from tests.helpers.drawn_scenes import Drawn, backward, drawn, drawn_scene, fit
from training.data.scene import UNKNOWN, Scene
from training.data.transforms import flip
from training.preset import Preset, load_preset
from training.tasks.canvas import TaskError, draw_scene
from training.tasks.detector import DetectorTask


def bounds(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("hw", [(92, 155), (200, 155), (61, 333)])
def test_without_augmentation_a_scene_is_drawn_as_in_deployment(tiny: Preset, hw: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    boxes = np.array([[10, 5, 50, 60], [-20, 0, 30, 40]], np.float32)
    canvas, truth = draw_scene(Scene("", picture, boxes, np.full(2, UNKNOWN)), tiny, None)
    letterbox = Letterbox(hw, tiny.canvas)
    assert np.array_equal(canvas, letterbox.apply(picture, tiny.pad))
    # The second reaches over the border, and is cut there.
    boxes[1, 0] = 0
    np.testing.assert_allclose(truth.boxes.numpy(), letterbox.to_canvas(boxes), rtol=1e-6)
    assert truth.instances is None
    assert truth.ignored.shape == (0, 4)


def test_scenes_without_people(tiny: Preset) -> None:
    scene = Scene("", np.zeros((40, 50, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    for rng in (None, np.random.default_rng(0)):
        _, truth = draw_scene(scene, tiny, rng)
        assert truth.boxes.shape == truth.ignored.shape == (0, 4)


def test_the_hardly_visible_are_ignored_and_the_invisible_forgotten(tiny: Preset) -> None:
    rows = [[-60, 0, 30, 60], [-40, 0, 30, 60], [60, 20, 63, 60], [-50, 0, -10, 60], [80, 10, 80, 40]]
    instances = np.zeros(tiny.canvas, np.uint16)
    instances[0, :5] = [1, 2, 3, 4, 5]
    scene = Scene("", np.zeros((*tiny.canvas, 3), np.uint8), np.array(rows, np.float32), np.full(5, UNKNOWN), instances)
    _, truth = draw_scene(scene, tiny, None)
    assert truth.boxes.tolist() == [[0, 0, 30, 60]]  # 30/70 of the second is visible, 30/90 of the first
    assert truth.ignored.tolist() == [[0, 0, 30, 60], [60, 20, 63, 60]]
    assert truth.instances is not None
    assert truth.instances[0, :5].tolist() == [0, 1, 0, 0, 0]


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_augmentation_moves_picture_boxes_and_masks_together(seed: int) -> None:
    tiny = load_preset("edge").model_copy(update={"canvas": (92, 155)})
    canvas, truth = draw_scene(drawn_scene(seed % 5), tiny, np.random.default_rng(seed))
    assert truth.instances is not None
    assert canvas.shape == (92, 155, 3)
    numbers = truth.instances.numpy()
    assert set(np.unique(numbers)) <= set(range(len(truth.boxes) + 1))
    everyone = torch.cat([truth.boxes, truth.ignored])
    assert bool((everyone >= 0).all())
    assert bool((everyone <= torch.tensor([155, 92, 155, 92])).all())
    for row, box in enumerate(truth.boxes.numpy()):
        # A cut ellipse may be narrower than its cut box.
        low, high = np.array(bounds(numbers == row + 1)[:2]), np.array(bounds(numbers == row + 1)[2:])
        assert (low >= box[:2] - 1).all()
        assert (high <= box[2:] + 1).all()
        if len(truth.boxes) == 2 and not len(truth.ignored) and (box[:2] > 3).all() and (box[2:] < [150, 88]).all():
            np.testing.assert_allclose([*low, *high], box, atol=3)
        # One ellipse is red and one blue, whatever the light; which is on the left tells nothing after a flip.
        r, _, b = canvas[cv2.erode((numbers == row + 1).astype(np.uint8), np.ones((3, 3))) > 0].mean(axis=0)
        assert abs(r - b) > 40


def test_augmentation_varies(tiny: Preset) -> None:
    scene, truths, flips = drawn_scene(0), [], set()
    for seed in range(12):
        canvas, truth = draw_scene(scene, tiny, np.random.default_rng(seed))
        truths.append(canvas.mean())
        if len(truth.boxes) == 2:
            flips.add(bool(truth.boxes[0, 0] > truth.boxes[1, 0]))
    assert len(set(truths)) == 12
    assert flips == {True, False}


def altered(preset: Preset, **scenes: Any) -> Preset:
    """The preset with other numbers in `augmentation.scenes`."""
    how = preset.augmentation
    how = how.model_copy(update={"scenes": how.scenes.model_copy(update=scenes)})
    return preset.model_copy(update={"augmentation": how})


def test_the_preset_says_how_scenes_are_altered(tiny: Preset) -> None:
    scene, still = drawn_scene(0), altered(tiny, zoom=(1.0, 1.0), colour=0.0, camera=0.0)
    plain = draw_scene(scene, tiny, None)[0]
    for seed in range(4):
        canvas = draw_scene(scene, still, np.random.default_rng(seed))[0]
        assert np.array_equal(canvas, plain) or np.array_equal(canvas, draw_scene(flip(scene), tiny, None)[0])
    nearer = draw_scene(scene, altered(still, zoom=(1.5, 1.5)), np.random.default_rng(0))[1]
    sizes = torch.cat([nearer.boxes, nearer.ignored])
    assert float((sizes[:, 3] - sizes[:, 1]).max()) > 1.3 * (scene.boxes[:, 3] - scene.boxes[:, 1]).max()


def test_the_preset_says_who_is_a_person_still(tiny: Preset) -> None:
    rows = [[-60, 0, 30, 60], [60, 20, 63, 60]]
    scene = Scene("", np.zeros((*tiny.canvas, 3), np.uint8), np.array(rows, np.float32), np.full(2, UNKNOWN))
    assert draw_scene(scene, tiny, None)[1].boxes.shape == (0, 4)
    assert draw_scene(scene, altered(tiny, seen=0.3), None)[1].boxes.tolist() == [[0, 0, 30, 60]]
    assert draw_scene(scene, altered(tiny, smallest=3.0), None)[1].boxes.tolist() == [[60, 20, 63, 60]]


def test_a_batch_depends_on_seed_and_iteration_alone(tiny: Preset) -> None:
    scenes = drawn(5)
    one, other = (DetectorTask(tiny, scenes, seed=3, batch_size=2) for _ in range(2))
    forth = [one.batch(i) for i in range(4)]
    back = [other.batch(i) for i in reversed(range(4))][::-1]
    for a, b in zip(forth, back, strict=True):
        assert torch.equal(a.images, b.images)
        assert all(torch.equal(x.boxes, y.boxes) for x, y in zip(a.truths, b.truths, strict=True))
    assert not torch.equal(forth[0].images, forth[1].images)
    assert not torch.equal(forth[0].images, DetectorTask(tiny, scenes, seed=4, batch_size=2).batch(0).images)
    assert forth[0].images.shape == (2, *tiny.canvas, 3)
    assert forth[0].images.dtype == torch.uint8


def test_every_epoch_shows_every_scene_once_in_a_new_order(tiny: Preset) -> None:
    scenes = Drawn(
        [
            Scene("", np.full((9, 9, 3), i, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
            for i in range(6)
        ]
    )
    task = DetectorTask(tiny, scenes, batch_size=2, augment=False)
    order = [int(image[0, 0, 0]) for i in range(6) for image in task.batch(i).images]
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order[:6] != order[6:]


def test_losses_depend_on_weights_and_batch_alone(tiny: Preset) -> None:
    task = DetectorTask(tiny, drawn(2), batch_size=2, freeze="none")
    task.modules.train()
    batch = task.batch(0)
    torch.manual_seed(1)
    first = task.losses(batch)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = task.losses(batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert set(first) == {"rpn_objectness", "rpn_boxes", "classes", "boxes"}
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_paper_freezes_conv1_conv2_and_normalisation(tiny: Preset) -> None:
    task = DetectorTask(tiny, drawn(2))
    convolutions = [layer for layer in task.network.features if isinstance(layer, nn.Conv2d)]
    frozen = [parameter for layer in convolutions[:3] for parameter in layer.parameters()]  # 1 in conv1, 2 in conv2
    norms = [layer for layer in task.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    frozen += [parameter for layer in norms for parameter in layer.parameters()]
    everything = set(task.network.parameters())
    assert set(task.parameters()) == everything - set(frozen)
    statistics = [norm.running_mean.clone() for norm in norms]
    backward(task)
    assert all(parameter.grad is None for parameter in frozen)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, statistics, strict=True))


def test_gradients_reach_all_that_learns(tiny: Preset) -> None:
    for freeze, batch_size in (("none", 2), ("paper", 1)):
        task = DetectorTask(tiny, drawn(2), batch_size=batch_size, augment=False, freeze=freeze)
        with torch.no_grad():  # initial biases of 0 may leave a narrow layer's ReLUs dead
            task.network.fc6.bias.fill_(0.5)
            task.network.fc7.bias.fill_(0.5)
        backward(task)
        for name, parameter in task.network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                assert parameter.grad.any(), name


@pytest.mark.parametrize(("name", "freeze"), [("edge", "none"), ("paper", "paper")])
def test_gradients_are_finite_at_initialisation(name: str, freeze: str) -> None:
    full = load_preset(name)
    # The convolutions as they are; a small canvas and a narrow head keep it quick.
    preset = full.model_copy(update={"canvas": (128, 160), "detector": full.detector.model_copy(update={"hidden": 64})})
    task = DetectorTask(preset, Drawn([drawn_scene(i, (128, 160)) for i in range(2)]), batch_size=2, freeze=freeze)
    losses = backward(task)
    assert all(0 < loss.item() < 5 for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in task.parameters())


@pytest.mark.parametrize(
    ("count", "arguments", "message"),
    [
        (0, {}, "0 scenes"),
        (2, {"batch_size": 1, "freeze": "none"}, "batch_size is 1; with freeze='none' at least 2"),
        (2, {"batch_size": 0}, "batch_size is 0; .* at least 1"),
        (2, {"freeze": "all"}, "'all'"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny: Preset, count: int, arguments: dict, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        DetectorTask(tiny, drawn(count), **arguments)


def test_without_normalisation_one_scene_is_a_batch(tiny: Preset) -> None:
    backbone = tiny.detector.backbone.model_copy(update={"batch_norm": False})
    plain = tiny.model_copy(update={"detector": tiny.detector.model_copy(update={"backbone": backbone})})
    assert backward(DetectorTask(plain, drawn(1), batch_size=1, freeze="none"))["classes"] > 0


def test_it_learns_a_few_scenes(tiny: Preset) -> None:
    preset = tiny.model_copy(update={"detector": tiny.detector.model_copy(update={"hidden": 64, "dropout": 0.0})})
    scenes = drawn(2)
    task = DetectorTask(preset, scenes, batch_size=2, augment=False, freeze="none")
    fit(task, 150)
    for scene in scenes.scenes:
        found = task.network(torch.from_numpy(scene.image))
        sure = found.boxes[found.scores > 0.5]
        overlaps = ops.box_iou(torch.from_numpy(scene.boxes), sure)
        assert bool((overlaps.amax(dim=1) > 0.5).all())
        assert len(sure) == 2


def test_what_a_scene_ignores_is_ignored(tiny: Preset) -> None:
    boxes, crowd = np.array([[10, 5, 50, 60]], np.float32), np.array([[60, 5, 90, 40]], np.float32)
    scene = Scene("", np.zeros((92, 155, 3), np.uint8), boxes, np.full(1, UNKNOWN), ignored=crowd)
    _, truth = draw_scene(scene, tiny, None)
    letterbox = Letterbox((92, 155), tiny.canvas)
    np.testing.assert_allclose(truth.boxes.numpy(), letterbox.to_canvas(boxes), rtol=1e-6)
    np.testing.assert_allclose(truth.ignored.numpy(), letterbox.to_canvas(crowd), rtol=1e-6)
    for seed in range(8):
        _, truth = draw_scene(scene, altered(tiny, zoom=(1.0, 1.0)), np.random.default_rng(seed))
        distance = (truth.ignored[0, 0] + truth.ignored[0, 2] - truth.boxes[0, 0] - truth.boxes[0, 2]).abs()
        assert float(distance) == pytest.approx(90 * letterbox.scale[0], rel=0.02)


def test_things_are_drawn_with_the_scene(tiny: Preset) -> None:
    boxes, things = np.array([[10, 5, 50, 60]], np.float32), np.array([[60, 5, 90, 40]], np.float32)
    scene = Scene("", np.zeros((92, 155, 3), np.uint8), boxes, np.full(1, UNKNOWN), others=things)
    _, truth = draw_scene(scene, tiny, None)
    assert truth.others is not None
    assert truth.to(torch.device("cpu")).others is truth.others
    np.testing.assert_allclose(truth.others.numpy(), Letterbox((92, 155), tiny.canvas).to_canvas(things), rtol=1e-6)


def test_mosaics_are_drawn_for_their_share(tiny: Preset) -> None:
    scenes = drawn(6)
    half = DetectorTask(altered(tiny, mosaic=0.5), scenes, batch_size=10, seed=1)
    first, again = (half.batch(3) for _ in range(2))
    assert torch.equal(first.images, again.images)
    people = [len(truth.boxes) + len(truth.ignored) for truth in first.truths]
    assert max(people) > 2 >= min(people), "a scene shows two"
    for truth in first.truths:
        assert truth.instances is not None
        assert int(truth.instances.max()) <= len(truth.boxes)
        assert bool((truth.boxes[:, 2:] <= torch.tensor([155, 92])).all())
    plain = DetectorTask(altered(tiny, mosaic=0.5), scenes, batch_size=10, augment=False)
    assert max(len(truth.boxes) for truth in plain.batch(0).truths) <= 2
