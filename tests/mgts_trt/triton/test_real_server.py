"""The written repository on NVIDIA's own server, asked by its own client over both of its doors."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs pillow, of the extra serve")
pytest.importorskip("tritonclient", reason="needs the extra check")

import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.doors import Door, open_door
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.open_inference.models import bundle_specs
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.triton.repository import Served, write_repository
from tests.helpers.paths import SAMPLES, TRAINED
from tests.helpers.plan_files import identity, put
from tests.helpers.running_service import picture
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.triton_server import Triton, require_triton, triton_serving

pytestmark = pytest.mark.slow

PICTURES = sorted(SAMPLES.rglob("*.jpg"))[:10]
GRPC = tritonclient.grpc
DOORS = {"http": tritonclient.http, "grpc": GRPC}


@pytest.fixture(scope="module")
def search() -> Iterator[PersonSearch]:
    with PersonSearch.open(TRAINED, mode="box", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(search: PersonSearch) -> list[People]:
    return [search(read_image(path)) for path in PICTURES]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    require_triton()
    folder = tmp_path_factory.mktemp("triton")
    write_repository(Served(Bundle.open(TRAINED), "box", threads=1), folder / "models")
    with triton_serving(folder / "models", folder) as server:
        yield server


@pytest.fixture(params=list(DOORS))
def door(request: pytest.FixtureRequest, triton: Triton) -> Iterator[tuple[ModuleType, Any]]:
    """The client's module, and a client."""
    with DOORS[request.param].InferenceServerClient(getattr(triton, request.param)) as client:
        yield DOORS[request.param], client


def tensor(module: ModuleType, name: str, array: np.ndarray) -> Any:
    kind = {"uint8": "UINT8", "float32": "FP32", "object": "BYTES"}[str(array.dtype)]
    given = module.InferInput(name, list(array.shape), kind)
    given.set_data_from_numpy(array)
    return given


def file(module: ModuleType, content: bytes) -> Any:
    return tensor(module, "file", np.array([content], np.object_))


def assert_same(got: Any, people: People) -> None:
    assert np.allclose(got.as_numpy("boxes"), people.boxes, atol=1e-3)
    assert np.allclose(got.as_numpy("scores"), people.scores, atol=1e-5)
    assert np.allclose(got.as_numpy("embeddings"), people.embeddings, atol=1e-5)
    for i, (png, (x1, y1, x2, y2)) in enumerate(zip(got.as_numpy("masks"), got.as_numpy("mask_boxes"), strict=True)):
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) > 0
        assert np.array_equal(mask, people.mask(i)[y1:y2, x1:x2])


def test_its_models_are_those_of_the_service(door: tuple[ModuleType, Any], search: PersonSearch) -> None:
    for name, spec in bundle_specs(search.bundle, "box").items():
        told = door[1].get_model_metadata(name, "1", **({"as_json": True} if door[0] is GRPC else {}))
        for which in ("inputs", "outputs"):
            found = [(each["name"], each["datatype"], [int(side) for side in each["shape"]]) for each in told[which]]
            assert found == [(each.name, each.datatype, list(each.shape)) for each in getattr(spec, which)]


def test_the_same_people_of_ten_pictures(
    door: tuple[ModuleType, Any], search: PersonSearch, expected: list[People]
) -> None:
    module, client = door
    for path, people in zip(PICTURES, expected, strict=True):
        assert_same(client.infer("person_search", [file(module, path.read_bytes())]), people)
    assert (len(PICTURES), sum(map(len, expected)) > 10) == (10, True)
    image = read_image(path)
    assert_same(client.infer("person_search", [tensor(module, "image", image)]), people)
    boxes = tensor(module, "boxes", people.boxes)
    assert_same(client.infer("embed", [tensor(module, "image", image), boxes]), search.embed(image, people.boxes))


def test_nobody(door: tuple[ModuleType, Any]) -> None:
    module, client = door
    black = tensor(module, "image", np.zeros((40, 50, 3), np.uint8))
    none = tensor(module, "boxes", np.zeros((0, 4), np.float32))
    for got in (client.infer("person_search", [black]), client.infer("embed", [black, none])):
        assert got.as_numpy("boxes").shape == (0, 4)
        assert got.as_numpy("embeddings").shape == (0, 128)
        assert got.as_numpy("masks").shape == (0,)


def test_outputs_that_are_asked_for_come_alone(door: tuple[ModuleType, Any]) -> None:
    module, client = door
    wanted = [module.InferRequestedOutput("scores")]
    got = client.infer("person_search", [file(module, PICTURES[0].read_bytes())], outputs=wanted, request_id="7")
    told = got.get_response(**({"as_json": True} if module is GRPC else {}))
    assert ([each["name"] for each in told["outputs"]], told["id"]) == (["scores"], "7")


@pytest.mark.parametrize(("name", "served"), [("Triton HTTP", "http"), ("Triton gRPC", "grpc")])
def test_the_benchmark_gets_them_too(name: Door, served: str, triton: Triton, expected: list[People]) -> None:
    async def ask() -> int:
        async with open_door(name, getattr(triton, served)) as asked:
            return await asked(PICTURES[0].read_bytes())

    assert asyncio.run(ask()) == len(expected[0])


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        ("person_search", {}, "one of the inputs image"),
        ("person_search", {"file": np.array([b"no picture"], np.object_)}, "the input file is not a picture"),
        ("person_search", {"file": np.array([b"a", b"b"], np.object_)}, "unexpected shape"),
        ("person_search", {"image": np.zeros((8, 8, 4), np.uint8)}, "unexpected shape"),
        ("person_search", {"image": np.zeros((0, 8, 3), np.uint8)}, "with a pixel at least"),
        ("person_search", {"image": np.zeros((8, 8, 3), np.float32)}, "data-type is 'FP32'"),
        ("person_search", {"boxes": np.zeros((1, 4), np.float32)}, "unexpected inference input 'boxes'"),
        ("embed", {"image": np.zeros((8, 8, 3), np.uint8)}, "boxes is missing"),
        ("embed", {"image": np.zeros((8, 8, 3), np.uint8), "boxes": np.full((1, 4), np.nan, "f")}, "holds no pixel"),
    ],
)
def test_bad_inputs_are_told(door: tuple[ModuleType, Any], model: str, inputs: dict, sentence: str) -> None:
    module, client = door
    with pytest.raises(InferenceServerException, match=sentence):
        client.infer(model, [tensor(module, name, array) for name, array in inputs.items()])


def test_a_model_goes_and_comes_while_the_other_serves(door: tuple[ModuleType, Any]) -> None:
    module, client = door
    sent = file(module, PICTURES[0].read_bytes())
    client.unload_model("embed")
    assert not client.is_model_ready("embed")
    assert len(client.infer("person_search", [sent]).as_numpy("scores"))
    client.load_model("embed")
    boxes = tensor(module, "boxes", np.array([[0, 0, 20, 40]], np.float32))
    assert client.infer("embed", [sent, boxes]).as_numpy("embeddings").shape == (1, 128)


def test_requests_are_searched_together_and_it_ends_when_asked(tmp_path: Path) -> None:
    """With batches each tensor has a dimension more; pictures may differ in size, and a bad one costs itself.

    A server of its own: in whatever order tests run, none finds one that has ended.
    """
    require_triton()
    bundle = make_tiny_bundle(tmp_path / "bundle")
    write_repository(Served(Bundle.open(bundle), "net", threads=1, batch=4), tmp_path / "models", ["person_search"])
    config = tmp_path / "models/person_search/config.pbtxt"
    waiting = "dynamic_batching {\n  max_queue_delay_microseconds: 20000000"  # for the fourth
    config.write_text(config.read_text().replace("dynamic_batching {", waiting))
    images = [decode_image(picture(*cells), "a picture") for cells in (((0, 0), (1, 3)), ())]
    images += [np.pad(images[0], ((0, 10), (0, 20), (0, 0))), np.zeros((0, 8, 3), np.uint8)]
    two = np.array([[picture((0, 0))]] * 2, np.object_)
    with triton_serving(tmp_path / "models", tmp_path) as server, GRPC.InferenceServerClient(server.grpc) as client:
        *found, (_, bad) = at_once(client, [tensor(GRPC, "image", image[None]) for image in images])
        refused = at_once(client, [tensor(GRPC, "file", two)] * 2)
        plan = put(Bundle.open(bundle).plans, identity(flavour="tensorrt", target="sm_87", lowering="plugin"))
        write_repository(Served(Bundle.open(bundle), "net"), tmp_path / "models", [], [plan.name])
        with pytest.raises(InferenceServerException, match="backend library for backend 'tensorrt'"):
            client.load_model("mgts")  # its configuration is read, and the wheel has no TensorRT
        (told,) = client.get_inference_statistics("person_search", as_json=True)["model_stats"]
        assert server.terminate() == 0
        assert "Non-graceful termination" not in server.log.read_text(errors="replace")
    assert "with a pixel at least" in str(bad)
    assert ["holds 2 pictures, but a request brings one" in str(error) for _, error in refused] == [True, True]
    with PersonSearch.open(bundle, mode="net", threads=1) as search:
        for (got, error), image in zip(found, images[:3], strict=True):
            assert error is None
            people = search(image)
            assert np.allclose(got.as_numpy("boxes"), people.boxes[None], atol=1e-3)
            assert got.as_numpy("masks").shape == (1, len(people))
    counts = {each["batch_size"]: each["compute_infer"]["count"] for each in told["batch_stats"]}
    assert counts == {"1": "1", "4": "2"}  # the warm-up, and both times all together


def at_once(client: Any, inputs: list[Any]) -> list[tuple[Any, Any]]:
    """The answers and errors of requests that are sent before one is answered."""
    answers = [Queue[tuple[Any, Any]]() for _ in inputs]
    for each, answer in zip(inputs, answers, strict=True):
        put = answer.put
        client.async_infer("person_search", [each], lambda result, error, put=put: put((result, error)))
    return [answer.get(timeout=60) for answer in answers]
