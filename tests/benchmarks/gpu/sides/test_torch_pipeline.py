"""PyTorch's side of the comparison does the same work: its people are those of the product's own pipeline."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the baseline is PyTorch")

from benchmarks.gpu.sides.torch_networks import TorchNetworks  # noqa: E402
from benchmarks.gpu.sides.torch_pipeline import TorchPipeline  # noqa: E402
from export.references.torch_session import TorchSession  # noqa: E402
from mgts_trt.bundle.bundle import Bundle  # noqa: E402
from mgts_trt.bundle.manifest import BundleFile, Manifest, Model, Training  # noqa: E402
from mgts_trt.bundle.recipe import MODELS, load_recipe  # noqa: E402
from mgts_trt.bundle.tensors import TensorSpec  # noqa: E402
from mgts_trt.choices import MODES  # noqa: E402
from mgts_trt.pictures.image import read_image  # noqa: E402
from mgts_trt.runtime.modes import MODELS_OF_MODE  # noqa: E402
from mgts_trt.runtime.pipeline import PersonSearch  # noqa: E402
from mgts_trt.stages import Letterbox  # noqa: E402
from tests.helpers.torch_threads import one_torch_thread  # noqa: E402

PEOPLE = 5


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for one another."""
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def bundle(tiny, tmp_path_factory) -> Bundle:
    """The tiny preset's contracts; no file of it is opened."""
    assert tiny.joint is not None
    bound = {
        "P": tiny.joint.probes, "d": tiny.joint.embedding,
        "Hc": tiny.canvas[0], "Wc": tiny.canvas[1], "Hp": tiny.patch[0], "Wp": tiny.patch[1], "D": tiny.embedding,
        "m": tiny.masknet.mask_size,
    }  # fmt: skip
    models = {}
    for name in MODELS:
        recipe = load_recipe(name)
        rpn = {"masknet": tiny.masknet.rpn, "joint": tiny.joint.rpn}.get(name, tiny.detector.rpn)
        inputs, outputs = (
            {
                key: TensorSpec(dtype=s.dtype, shape=tuple({**bound, "K": rpn.proposals}.get(d, d) for d in s.shape))
                for key, s in specs.items()
            }
            for specs in (recipe.inputs, recipe.outputs)
        )
        file = BundleFile(file=f"{name}.onnx", sha256="0" * 64, bytes=0)
        models[name] = Model(files={"fp32": file}, inputs=inputs, outputs=outputs, recipe_sha256=recipe.sha256)
    manifest = Manifest(
        preset="tiny", canvas=tiny.canvas, pad=tiny.pad, normalisation=tiny.normalisation, patch=tiny.patch,
        gamma=tiny.gamma, embedding=tiny.embedding, thresholds=tiny.thresholds, models=models,
        training=Training(trained=False, seed=7), versions={},
    )  # fmt: skip
    return Bundle(tmp_path_factory.mktemp("bundle"), manifest)


@pytest.fixture(scope="module")
def photo(public_photos) -> np.ndarray:
    return read_image(public_photos[0])


@pytest.mark.parametrize("form", ["eager", "channels-last"])
@pytest.mark.parametrize("mode", MODES)
def test_the_same_people(tiny, networks, bundle, photo, mode, form) -> None:
    # Of the canvas's size: resized pixels differ by a grey level, and boxes with them.
    height, width = tiny.canvas
    image = np.ascontiguousarray(photo[100 : 100 + height, 200 : 200 + width])
    models = MODELS_OF_MODE[mode]
    sessions = {name: TorchSession(name, networks[name], bundle.model(name)) for name in models}
    expected = PersonSearch(bundle, mode=mode, sessions=sessions)(image, top=PEOPLE)
    ours = TorchNetworks(tiny, models, form, "cpu", networks={name: networks[name] for name in models})
    found = TorchPipeline(ours, bundle.manifest, mode, PEOPLE, instances=80)(image)
    assert len(expected) == PEOPLE
    np.testing.assert_allclose(found.boxes, expected.canvas_boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_array_equal(found.instances, expected.instances)
    assert mode != "net" or found.instances.any()
    np.testing.assert_allclose((found.embeddings * expected.embeddings).sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(("image_hw", "mean", "most"), [((46, 70), 0.2, 1), ((300, 500), 1.5, 60)])
def test_the_same_canvas_but_for_rounding(tiny, networks, bundle, photo, image_hw, mean, most) -> None:
    # Shrinking weighs the pixels at a cell's border in OpenCV, and takes them whole in PyTorch.
    image = np.ascontiguousarray(photo[: image_hw[0], : image_hw[1]])
    pipeline = TorchPipeline(TorchNetworks(tiny, [], "eager", "cpu"), bundle.manifest, "box", PEOPLE)
    letterbox = Letterbox(image_hw, tiny.canvas)
    found = pipeline._letterbox(torch.from_numpy(image), letterbox).numpy().astype(int)
    difference = np.abs(found - letterbox.apply(image, tiny.pad))
    assert difference.mean() <= mean
    assert difference.max() <= most


def test_seeded_networks_of_the_presets_name(tiny) -> None:
    one, same = (TorchNetworks(tiny, ["idnet"], "eager", "cpu") for _ in range(2))
    patches = torch.rand(2, 3, *tiny.patch)
    torch.testing.assert_close(one.run("idnet", patches)[0], same.run("idnet", patches)[0])


@pytest.mark.parametrize("model", MODELS)
def test_half_gives_nearly_the_same(tiny, networks, photo, model) -> None:
    own = {model: networks[model]}
    if model in ("detector", "masknet", "joint"):
        inputs = [torch.from_numpy(np.ascontiguousarray(photo[100 : 100 + tiny.canvas[0], 200 : 200 + tiny.canvas[1]]))]
        if model == "joint":
            inputs.append(torch.tensor([[[10.0, 5.0, 60.0, 80.0], [0.0, 0.0, 30.0, 90.0]]]))
    else:
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(2, 3, *tiny.patch, generator=generator) for _ in range(2 if model == "mgts" else 1)]
    single, half = (
        TorchNetworks(tiny, [model], "channels-last", "cpu", copy.deepcopy(own), half=kind).run(model, *inputs)
        for kind in (False, True)
    )
    assert {tensor.dtype for tensor in half} == {torch.float32}
    # The best of each; further down boxes of all but equal scores change places.
    for one, other in zip(single, half, strict=True):
        torch.testing.assert_close(one[:1], other[:1], atol=0.05, rtol=0.02)
    assert not torch.equal(single[0], half[0])
