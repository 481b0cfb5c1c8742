from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from safetensors.torch import load_file
from torchvision import ops

from tests.helpers.drawn_scenes import Drawn, backward, drawn_scene, fit
from training.data.scene import UNKNOWN, Scene
from training.loop import train
from training.losses.detection import Truth
from training.losses.joint import TEACHING, Teacher
from training.models.reid import IDNet
from training.preset import JointPreset, Preset, SceneAugmentation, load_preset
from training.schedule import Schedule
from training.tasks.canvas import TaskError
from training.tasks.joint import JointTask

RED, BLUE = 0, 1


def known(count: int, *, labelled: bool = True) -> Drawn:
    """Scenes of a red and a blue ellipse, who are two people; of every third scene nobody knows them."""
    scenes = []
    for seed in range(count):
        scene = drawn_scene(seed, (96, 160))
        identities = np.array([RED, BLUE] if labelled and seed % 3 < 2 else [UNKNOWN] * 2, np.int64)
        scenes.append(Scene(scene.name, scene.image, scene.boxes, identities, scene.instances))
    found = Drawn(scenes)
    found.identity_count = 2 if labelled else 0
    return found


def narrow(preset: Preset, *, apart: bool) -> Preset:
    """The tiny joint network, or one like `edge`'s, whose class and box are read apart from identity."""
    sizes = preset.model_copy(update={"canvas": (96, 160)})
    if not apart:
        return sizes
    assert preset.joint is not None
    own = {
        **preset.joint.model_dump(),
        "backbone": {"kind": "efficientnet-lite0", "blocks": [1] * 6, "head": 12, "joined": True},
        "tail": (16, 16),
        "hidden": 32,
        "roi_size": 7,
    }
    return sizes.model_copy(update={"joint": JointPreset.model_validate(own)})


@pytest.fixture(params=[False, True], ids=["as published", "apart"])
def sizes(tiny: Preset, request: pytest.FixtureRequest) -> Preset:
    return narrow(tiny, apart=request.param)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), mosaic=st.sampled_from([0.0, 1.0]))
def test_identities_follow_their_people_through_augmentation(seed: int, mosaic: float) -> None:
    preset = narrow(load_preset("edge"), apart=True)
    how = preset.augmentation.model_copy(update={"scenes": SceneAugmentation(mosaic=mosaic, zoom=(0.9, 1.1))})
    task = JointTask(preset.model_copy(update={"augmentation": how}), known(6), seed=seed, batch_size=2, freeze="none")
    batch = task.batch(0)
    for canvas, truth in zip(batch.images.numpy(), batch.truths, strict=True):
        assert truth.identities is not None
        assert truth.instances is not None
        assert len(truth.identities) == len(truth.boxes)
        for row, identity in enumerate(truth.identities.tolist()):
            seen = canvas[truth.instances.numpy() == row + 1]
            if identity != UNKNOWN and len(seen) > 100:
                r, _, b = seen.mean(axis=0)
                assert (r > b) == (identity == RED)


def test_all_losses_are_there_and_depend_on_weights_and_batch_alone(sizes: Preset) -> None:
    task = JointTask(sizes, known(3), batch_size=2, freeze="none")
    task.modules.eval()  # OIM remembers nothing then
    batch = task.batch(0)
    first, again = task.losses(batch), task.losses(batch)
    assert set(first) == {"rpn_objectness", "rpn_boxes", "classes", "boxes", "oim"}
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_gradients_reach_all_that_learns(sizes: Preset) -> None:
    task = JointTask(sizes, known(2), batch_size=2, augment=False, freeze="none")
    with torch.no_grad():  # initial biases of 0 may leave a narrow layer's ReLUs dead
        for layer in (task.network.fc6, task.network.fc7, task.network.rpn.conv):
            if layer is not None:
                layer.bias.fill_(0.5)
    backward(task)  # before anybody is remembered, OIM draws nobody anywhere
    task.network.zero_grad()
    backward(task)
    for name, parameter in task.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_labelled_have_centres_and_the_unlabelled_a_queue(sizes: Preset) -> None:
    task = JointTask(sizes, known(3), batch_size=3, augment=False, freeze="none")
    backward(task)
    oim = task.modules["oim"]
    assert bool((oim.lookup.norm(dim=1) - 1).abs().max() < 1e-5)
    # Whoever is known to nobody is one of the unlabelled: the people of one scene in three, each box or proposal.
    assert int(oim.position) == int((oim.queue.norm(dim=1) > 0).sum()) >= 2


def test_people_of_whom_nobody_is_known_teach_no_identity(sizes: Preset) -> None:
    task = JointTask(sizes, known(3), batch_size=1, augment=False, freeze="paper")
    task.modules.eval()
    batch = task.batch(0)
    nobody = [Truth(*truth[:4], torch.full_like(truth.identities, UNKNOWN)) for truth in batch.truths]
    assert task.losses(batch._replace(truths=nobody))["oim"].item() == 0


def test_a_run_that_was_stopped_ends_with_the_same_weights(sizes: Preset, tmp_path: Path) -> None:
    plan = Schedule(batch_size=2, length=6, optimizer="adamw", lr=1e-3, weight_decay=0.01, decay="cooldown", ema=0.9)

    def run(folder: str, stop_at: int | None = None) -> None:
        task = JointTask(sizes, known(5), seed=3, batch_size=2, freeze="none")
        train(task, plan, tmp_path / folder, model="joint", preset=sizes.name, checkpoint_every=2, stop_at=stop_at)

    run("whole")
    run("cut", stop_at=3)
    run("cut")
    whole, cut = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "cut"))
    for part in ("modules", "average"):
        assert whole[part].keys() == cut[part].keys()
        assert all(torch.equal(value, cut[part][name]) for name, value in whole[part].items())
    assert whole["modules"]["oim.lookup"].any()
    first, second = (load_file(tmp_path / name / "joint.safetensors") for name in ("whole", "cut"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_learns_to_find_people_and_to_tell_them_apart(tiny: Preset) -> None:
    scenes = known(2)
    task = JointTask(narrow(tiny, apart=True), scenes, batch_size=2, augment=False, freeze="none")
    fit(task, 120)
    described = []
    for scene in scenes.scenes:
        boxes = torch.from_numpy(scene.boxes)
        found = task.network(torch.from_numpy(scene.image), boxes)
        sure = found.scores > 0.5
        overlaps = ops.box_iou(boxes, found.boxes[sure])
        assert bool((overlaps.amax(dim=1) > 0.5).all())
        described.append(found.roi_embeddings)
        # Who was found looks like who was shown.
        cosines = found.embeddings[sure] @ found.roi_embeddings.T
        assert torch.equal(cosines.argmax(dim=1), overlaps.argmax(dim=0))
    same, others = (described[0] @ described[1].T).diagonal(), (described[0] @ described[1].T.flip(1)).diagonal()
    assert float(same.min()) > float(others.max()) + 0.5


def test_what_cannot_be_trained_is_refused(tiny: Preset) -> None:
    with pytest.raises(TaskError, match="Nobody in the dataset has an identity"):
        JointTask(narrow(tiny, apart=False), known(2, labelled=False))


class OneLook(IDNet):
    """Everybody looks the same to it."""

    def forward(self, original: torch.Tensor) -> torch.Tensor:
        return torch.eye(self.fc.out_features)[0].expand(len(original), -1)


def taught(preset: Preset, kind: type[IDNet] = IDNet, scenes: Drawn | None = None, **options: int) -> JointTask:
    """A task with a teacher whose embeddings are as long as its own."""
    assert preset.joint is not None
    teacher = kind(preset.model_copy(update={"embedding": preset.joint.embedding}))
    return JointTask(preset, scenes or known(3), teacher=teacher, freeze="none", **options)


def test_a_teacher_is_followed_by_those_whom_nobody_knows_too(sizes: Preset) -> None:
    task = taught(sizes, OneLook, batch_size=2, augment=False)
    task.modules.eval()
    batch = task.batch(0)
    seen: list[torch.Tensor] = []
    task.network.fc.register_forward_hook(lambda module, inputs, output: seen.append(output))
    nobody = [truth._replace(identities=torch.full_like(truth.identities, UNKNOWN)) for truth in batch.truths]
    losses = task.losses(batch._replace(truths=nobody))
    cosines = torch.nn.functional.normalize(seen[0], dim=1)[:, 0]
    torch.testing.assert_close(losses["teacher"], TEACHING * (1 - cosines).mean())
    assert losses["oim"].item() == 0
    assert len(cosines) >= 2


def test_a_teacher_sees_each_persons_own_box(sizes: Preset) -> None:
    """Two people, each described by the mean colour of their box, at whatever place in the batch."""
    task = taught(sizes, batch_size=2, augment=False)
    task.modules.eval()
    batch = task.batch(0)
    normalised = task.network.normalise(batch.images)
    teacher = Teacher(task._teacher.network, sizes.patch)
    together = teacher.embeddings(normalised, [truth.boxes for truth in batch.truths])
    alone = [
        teacher.embeddings(normalised[place : place + 1], [truth.boxes[row : row + 1]])
        for place, truth in enumerate(batch.truths)
        for row in range(len(truth.boxes))
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    nobody = teacher.embeddings(normalised, [torch.zeros(0, 4)] * 2)
    assert nobody.shape == (0, sizes.joint.embedding)


def test_a_teacher_learns_nothing_and_is_in_no_checkpoint(sizes: Preset) -> None:
    task = taught(sizes, batch_size=2, augment=False)
    before = [parameter.clone() for parameter in task._teacher.network.parameters()]
    backward(task)
    assert not any("teacher" in name for name in task.modules.state_dict())
    for parameter, old in zip(task._teacher.network.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


def test_a_teacher_of_another_length_is_refused(sizes: Preset) -> None:
    other = IDNet(sizes.model_copy(update={"embedding": 7}))
    with pytest.raises(TaskError, match="The teacher's embeddings have 7 numbers"):
        JointTask(sizes, known(3), teacher=other, freeze="none", batch_size=2)
