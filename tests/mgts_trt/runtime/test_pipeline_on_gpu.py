"""`PersonSearch` on TensorRT: simulated, with real networks, and on a GPU."""

import shutil

import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import SEPARATE_MODES
from mgts_trt.errors import BackendError, ImageError
from mgts_trt.evaluation.boxes import match_boxes
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.pictures.image import read_image
from mgts_trt.plans.builder.build import build_plan
from mgts_trt.plans.installed import find_flavour
from mgts_trt.runtime.gpu.gpu_pipeline import GpuPipeline
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.session import tensorrt
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.gpu_networks import assert_same
from tests.helpers.headed_mgts import put_headed_mgts
from tests.helpers.simulated_machine import TARGET, simulated_machine
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle


def scene(*cells, scale=1):
    image = np.random.default_rng(len(cells)).integers(0, 90, (*CANVAS, 3), dtype=np.uint8)
    for row, column in cells:
        image[row * CELL[0] : (row + 1) * CELL[0], column * CELL[1] : (column + 1) * CELL[1]] = 230 + row + column
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


SCENES = [scene((0, 1)), scene(), scene((0, 0), (1, 3), (1, 5), scale=3), scene((1, 1), (0, 4)), scene((0, 3), scale=2)]


@pytest.fixture(scope="module")
def headed(tmp_path_factory):
    """A bundle whose MGTS has the head of the real one."""
    root = make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    return put_headed_mgts(Bundle.open(root), "fp32", "fp16")


@pytest.fixture
def machine(headed, tmp_path, monkeypatch):
    """A machine with a simulated GPU and TensorRT; returns it, and a bundle with plans."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    module = simulated_machine(monkeypatch, bundle)
    write_plan(bundle, "mgts", tensorrt.require_flavour(), TARGET, lowering="kernel")
    return module, bundle


@pytest.mark.parametrize("ops", ["graph", "kernel"])
@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_real_networks_give_the_same_people(machine, mode, ops):
    module, bundle = machine
    with (
        PersonSearch(bundle, mode=mode, ops=ops) as mine,
        PersonSearch(bundle, mode=mode, backend="onnxruntime") as reference,
    ):
        assert mine.runtime.backend == "tensorrt"
        assert mine.runtime.engines[MODELS_OF_MODE[mode][-1]].record.identity.lowering == (
            "graph" if mode == "none" else ops
        )
        corners = np.random.default_rng(0).uniform(0, 40, (70, 2))
        boxes = np.hstack([corners, corners + np.array([20, 30])])
        for _ in range(3):
            for image in SCENES:
                assert_same(mine(image), reference(image), embeddings=1e-5)
            assert_same(mine.embed(SCENES[0], boxes), reference.embed(SCENES[0], boxes), embeddings=1e-5)
        streamed = list(mine.stream(SCENES * 3, depth=3))
        for people, image in zip(streamed, SCENES * 3, strict=True):
            assert_same(people, reference(image), embeddings=1e-5)
        assert mine.runtime.graph_refusals == {}
    assert not module.device._pending
    assert not any(memory.kind == "device" and not memory.freed for memory in module.device._memories)
    with pytest.raises(BackendError, match="closed"):
        mine(SCENES[0])


@pytest.mark.parametrize("people", [1, 3])
def test_fewer_people_at_once_take_less_workspace(machine, people):
    module, bundle = machine
    with (
        PersonSearch(bundle, mode="net", max_people=people, pictures_in_flight=1) as mine,
        PersonSearch(bundle, mode="net") as whole,
        PersonSearch(bundle, mode="net", backend="onnxruntime", max_people=people) as reference,
    ):
        assert mine.memory_plan != whole.memory_plan
        assert f"each of 1 in flight 0 MiB of workspace and 24 MiB of arrays, with up to {people}" in mine.memory_plan
        assert reference.memory_plan == ""
        for image in SCENES:
            assert_same(mine(image), reference(image), embeddings=1e-5)
        assert {"update_device_memory_size_for_shapes", "device_memory"} <= set(module.calls)
    module.fail["update_device_memory_size_for_shapes"] = "the shapes are not set"
    with PersonSearch(bundle, mode="net", max_people=people) as search:
        assert (search.runtime.backend, "the shapes are not set" in search.runtime.reason) == ("onnxruntime", True)


def test_what_does_not_fit_runs_elsewhere_with_a_sentence(machine):
    module, bundle = machine
    module.device.available = 1 << 20
    with PersonSearch(bundle, mode="net") as search:
        assert search.runtime.backend == "onnxruntime"
        assert "does not fit into the GPU's memory, of which 1 MiB are free" in search.runtime.reason
    with pytest.raises(BackendError, match="smaller max_people than 64"):
        PersonSearch(bundle, mode="net", backend="tensorrt")
    assert not any(memory.kind == "device" and not memory.freed for memory in module.device._memories)


@pytest.mark.parametrize("limit", ["max_people", "pictures_in_flight"])
def test_limits_are_positive(machine, limit):
    with pytest.raises(BackendError, match=f"{limit} is 0, but 1 or more is expected"):
        PersonSearch(machine[1], **{limit: 0})


def test_plans_that_load_but_cannot_run(machine, monkeypatch):
    module, bundle = machine

    def refuse(*_, **__):
        raise BackendError("There is no memory for a context.")

    monkeypatch.setattr(GpuPipeline, "__init__", refuse)
    with PersonSearch(bundle, mode="box") as search:
        assert (search.runtime.backend, search.runtime.reason) == ("onnxruntime", "There is no memory for a context.")
        assert search.runtime.device.startswith("CPU")
        assert len(search(SCENES[0])) == 1
    with pytest.raises(BackendError, match="no memory for a context"):
        PersonSearch(bundle, mode="box", backend="tensorrt")
    assert not any(memory.kind == "device" and not memory.freed for memory in module.device._memories)


def test_half_precision_feeds_the_kernel_half_maps(machine):
    _, bundle = machine
    write_plan(bundle, "mgts", tensorrt.require_flavour(), TARGET, "fp16", "kernel")
    engines = {
        "detector": tensorrt.open_engine(bundle, "detector", "fp32"),
        "mgts": tensorrt.open_engine(bundle, "mgts", "fp16", ops="kernel"),
    }
    [before] = engines["mgts"].engines
    assert {spec.dtype for spec in before.outputs.values()} == {"float16"}
    pipeline = GpuPipeline(bundle.manifest, "box", engines)
    with PersonSearch(bundle, mode="box", backend="onnxruntime") as reference:
        for image in SCENES * 2:
            got, wanted = pipeline.search(image), reference(image)
            np.testing.assert_array_equal(got.boxes, wanted.boxes)
            assert ((got.embeddings * wanted.embeddings).sum(axis=1) > 0.999).all()
    pipeline.close()


def test_a_chain_alone_is_taken_by_auto(machine):
    _, bundle = machine
    for folder in bundle.plans.glob("mgts.*"):
        if ".kernel." not in folder.name:
            shutil.rmtree(folder)
    with PersonSearch(bundle, mode="box") as search:
        assert search.runtime.engines["mgts"].record.identity.lowering == "kernel"
        assert len(search(SCENES[0])) == 1
    with pytest.raises(BackendError, match="cannot run here"):
        PersonSearch(bundle, mode="box", backend="tensorrt", ops="graph")


def test_graphs_can_be_switched_off(machine, monkeypatch):
    module, bundle = machine
    monkeypatch.setattr(module.device, "capture", lambda stream: pytest.fail("captured"))
    with PersonSearch(bundle, mode="net", graphs=False) as search:
        for _ in range(3):
            search(SCENES[0])


# On a GPU.

RTX = find_flavour("tensorrt_rtx") or find_flavour("tensorrt")


@pytest.fixture(scope="module")
def built(headed, tmp_path_factory):
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path_factory.mktemp("gpu") / "bundle"))
    for model in bundle.manifest.models:
        build_plan(bundle, model, "fp32", "current")
    build_plan(bundle, "mgts", "fp32", "current", ops="kernel")
    return bundle


def pictures(public_photos):
    return [read_image(path) for path in public_photos[:6]] + SCENES


def assert_alike(got, wanted):
    """The same people: boxes with an IoU of 0.99, embeddings with a cosine of 0.999."""
    assert len(got) == len(wanted)
    matches = match_boxes(wanted.boxes, got.boxes, 0.99)
    assert (matches >= 0).all()
    assert ((got.embeddings[matches] * wanted.embeddings).sum(axis=1) >= 0.999).all()


@pytest.mark.gpu
@pytest.mark.skipif(RTX is None, reason="needs TensorRT")
@pytest.mark.parametrize("ops", ["graph", "kernel"])
@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_a_gpu_finds_the_same_people(built, public_photos, mode, ops):
    with PersonSearch(built, mode=mode, backend="onnxruntime") as reference:
        wanted = [reference(image, top=4) for image in pictures(public_photos)]
    for graphs in (True, False):
        with PersonSearch(built, mode=mode, backend="tensorrt", ops=ops, graphs=graphs) as search:
            for _ in range(3):
                for image, expected in zip(pictures(public_photos), wanted, strict=True):
                    assert_alike(search(image, top=4), expected)
            for depth in (1, 2, 4):
                results = search.stream(pictures(public_photos) * 3, depth=depth, top=4)
                for people, expected in zip(results, wanted * 3, strict=True):
                    assert_alike(people, expected)
            assert search.runtime.graph_refusals == {}


@pytest.mark.gpu
@pytest.mark.skipif(RTX is None, reason="needs TensorRT")
def test_a_gpu_gives_the_same_numbers_with_and_without_graphs(built, public_photos):
    with (
        PersonSearch(built, mode="net", backend="tensorrt") as captured,
        PersonSearch(built, mode="net", backend="tensorrt", graphs=False) as plain,
    ):
        for _ in range(3):
            for image in pictures(public_photos):
                assert_same(captured(image, top=4), plain(image, top=4), embeddings=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(RTX is None, reason="needs TensorRT")
def test_a_gpu_reads_a_torch_tensor_where_it_is(built, public_photos):
    torch = pytest.importorskip("torch")
    image = read_image(public_photos[0])
    with PersonSearch(built, mode="net", backend="tensorrt") as search:
        wanted = search(image, top=4)
        stream = torch.cuda.Stream()
        for _ in range(3):
            with torch.cuda.stream(stream):
                tensor = torch.zeros(image.shape, dtype=torch.uint8, device="cuda")
                tensor += torch.from_numpy(image).pin_memory().to("cuda", non_blocking=True)
            assert_same(search(tensor, top=4, stream=stream), wanted, embeddings=1e-6)
        with pytest.raises(ImageError, match="not contiguous"):
            search(tensor.transpose(0, 1), stream=stream)
