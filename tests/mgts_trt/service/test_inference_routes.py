"""The real client of Triton and KServe servers against the real service; and what strangers send."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("tritonclient", reason="needs the extra check")

from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.open_inference.messages import HEADER
from mgts_trt.pictures.image import read_image
from tests.helpers.paths import ROOT
from tests.helpers.running_service import Running, picture, serving

SAMPLES = sorted((ROOT / "docs/pictures/samples").glob("store_aisle/*.jpg"))[:3]
# The client writes into the headers it is given.
KEY = {"X-API-Key": "a-key-of-some-length"}
URL = "/v2/models/person_search/infer"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(
        tmp_path_factory.mktemp("v2"), bundle=ROOT / "bundle", environment={"MGTS_API_KEY": KEY["X-API-Key"]}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"{service.host}:{service.port}", network_timeout=60) as made:
        while not made.is_server_ready():
            assert made.is_server_live()
        yield made


@pytest.fixture(scope="module")
def search() -> Iterator[PersonSearch]:
    with PersonSearch(Bundle.open(ROOT / "bundle"), threads=1) as opened:
        yield opened


def tensor(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def file_tensor(path: Path) -> InferInput:
    return tensor("file", np.array([path.read_bytes()], np.object_), "BYTES")


def assert_same(result, people) -> None:
    np.testing.assert_allclose(result.as_numpy("boxes"), people.boxes, atol=1e-3)
    np.testing.assert_allclose(result.as_numpy("scores"), people.scores, atol=1e-5)
    np.testing.assert_allclose(result.as_numpy("embeddings"), people.embeddings, atol=1e-4)
    pngs, boxes = result.as_numpy("masks"), result.as_numpy("mask_boxes")
    assert (len(pngs), boxes.shape) == (len(people), (len(people), 4))
    for i, (png, (x1, y1, x2, y2)) in enumerate(zip(pngs, boxes, strict=True)):
        whole = np.zeros(people.letterbox.image_hw, bool)
        whole[y1:y2, x1:x2] = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) == 255
        np.testing.assert_array_equal(whole, people.mask(i))


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_client_gets_the_people_of_the_pipeline(client, search, path, as_file) -> None:
    image = read_image(path)
    people = search(image)
    assert len(people) > 0
    sent = file_tensor(path) if as_file else tensor("image", image, "UINT8")
    assert_same(client.infer("person_search", [sent], headers=dict(KEY), request_id="7"), people)


def test_embeddings_of_boxes_that_are_sent(client, search) -> None:
    image = read_image(SAMPLES[0])
    people = search(image)
    inputs = [tensor("image", image, "UINT8"), tensor("boxes", people.boxes, "FP32", binary=False)]
    result = client.infer("embed", inputs, model_version="1", headers=dict(KEY))
    expected = search.embed(image, people.boxes)
    np.testing.assert_allclose(result.as_numpy("embeddings"), expected.embeddings, atol=1e-4)
    none = [inputs[0], tensor("boxes", np.zeros((0, 4), np.float32), "FP32")]
    assert client.infer("embed", none, headers=dict(KEY)).as_numpy("embeddings").shape == (
        0,
        people.embeddings.shape[1],
    )


def test_outputs_that_are_asked_for_come_alone_as_json_or_bytes(client) -> None:
    wanted = [InferRequestedOutput("scores", binary_data=False), InferRequestedOutput("boxes", binary_data=True)]
    result = client.infer("person_search", [file_tensor(SAMPLES[0])], outputs=wanted, request_id="a", headers=dict(KEY))
    told = result.get_response()
    assert [each["name"] for each in told["outputs"]] == ["scores", "boxes"]
    assert ("data" in told["outputs"][0], "data" in told["outputs"][1]) == (True, False)
    assert (told["id"], told["model_name"], told["model_version"]) == ("a", "person_search", "1")
    assert result.as_numpy("scores").shape == (len(result.as_numpy("boxes")),)


def test_what_the_client_asks_about(client) -> None:
    assert client.is_model_ready("embed")
    assert client.is_model_ready("person_search", "1")
    assert not client.is_model_ready("person_search", "2")
    assert not client.is_model_ready("yolo")
    assert client.get_server_metadata(headers=dict(KEY))["extensions"] == ["binary_tensor_data"]
    told = client.get_model_metadata("embed", "1", headers=dict(KEY))
    assert (told["name"], told["versions"], told["platform"]) == ("embed", ["1"], "mgts_trt_onnxruntime")
    assert {each["name"]: each["shape"] for each in told["inputs"]} == {
        "image": [-1, -1, 3], "file": [1], "boxes": [-1, 4]
    }  # fmt: skip
    assert {each["name"]: each["datatype"] for each in told["outputs"]} == {
        "boxes": "FP32", "scores": "FP32", "embeddings": "FP32", "masks": "BYTES", "mask_boxes": "INT32"
    }  # fmt: skip
    with pytest.raises(InferenceServerException, match="no model 'yolo'"):
        client.get_model_metadata("yolo", headers=dict(KEY))
    with pytest.raises(InferenceServerException, match="needs a key"):
        client.get_model_metadata("embed")


def test_json_alone_is_enough(service) -> None:
    """As from a shell: the picture in base64, all outputs as JSON."""
    with service.client(**KEY) as http:
        file = {
            "name": "file", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"},
            "data": [base64.b64encode(SAMPLES[0].read_bytes()).decode()],
        }  # fmt: skip
        told = http.post(URL, json={"inputs": [file]}).raise_for_status().json()
    found = {each["name"]: each for each in told["outputs"]}
    count = found["scores"]["shape"][0]
    assert (len(found["boxes"]["data"]), len(found["masks"]["data"])) == (4 * count, count)
    assert base64.b64decode(found["masks"]["data"][0]).startswith(b"\x89PNG")


SMALL = picture((0, 1))
PIXEL = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": [0, 1, 2]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The request cannot be read: the JSON"),
        (b"[]", "The request cannot be read"),
        ({}, "The request cannot be read: inputs: Field required"),
        ({"inputs": []}, "one of the inputs image"),
        ({"inputs": [PIXEL, PIXEL]}, "'image' is sent twice"),
        ({"inputs": [PIXEL | {"name": "x"}]}, "'x' is none of this model's. It takes image, file"),
        ({"inputs": [PIXEL | {"datatype": "FP32"}]}, "must be UINT8, and is 'FP32'"),
        ({"inputs": [PIXEL | {"shape": [3]}]}, "shape [-1, -1, 3]"),
        ({"inputs": [PIXEL | {"shape": [2, 2, 3]}]}, "takes 12 elements, and 3 came"),
        ({"inputs": [PIXEL | {"data": [0, 1, 256]}]}, "not all numbers of UINT8"),
        ({"inputs": [PIXEL | {"data": [0, 1, 2.5]}]}, "not all numbers of UINT8"),
        ({"inputs": [PIXEL | {"data": [[0], [1, 2]]}]}, "not all numbers of UINT8"),
        ({"inputs": [PIXEL | {"data": ["0", 1, 2]}]}, "not all numbers of UINT8"),
        ({"inputs": [PIXEL | {"data": None}]}, "neither data nor a binary_data_size"),
        ({"inputs": [PIXEL | {"shape": [0, 1, 3], "data": []}]}, "with a pixel at least"),
        ({"inputs": [PIXEL | {"parameters": {"binary_data_size": 3}}]}, "binary_data_size is 3, but 0 bytes follow"),
        ({"inputs": [PIXEL | {"parameters": {"binary_data_size": "3"}}]}, "binary_data_size is 3"),
        ({"inputs": [PIXEL], "outputs": [{"name": "faces"}]}, "'faces' is none of this model's. It gives boxes"),
        ({"inputs": [PIXEL], "outputs": [{"name": "boxes"}] * 2}, "'boxes' is asked for twice"),
        (
            {"inputs": [PIXEL], "outputs": [{"name": "boxes", "parameters": {"classification": 2}}]},
            "classification is not known",
        ),
        (
            {"inputs": [{"name": "file", "datatype": "BYTES", "shape": [1], "data": ["no picture"]}]},
            "the input file is not a picture (10 bytes)",
        ),
        ({"inputs": [{"name": "file", "datatype": "BYTES", "shape": [1], "data": [7]}]}, "must be strings"),
    ],
)
def test_what_is_no_request_is_told(service, body, sentence) -> None:
    with service.client(**KEY) as http:
        answer = http.post(URL, content=body if isinstance(body, bytes) else json.dumps(body))
    assert answer.status_code == 400, answer.text
    assert sentence in answer.json()["error"]


def binary(data: bytes, size: int, length: str | None = None, **tensor: object) -> tuple[bytes, dict[str, str]]:
    """A request whose picture follows its JSON."""
    sent = {"name": "file", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}} | tensor
    text = json.dumps({"inputs": [sent]}).encode()
    return text + data, {HEADER: length or str(len(text))}


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (binary(b"\x09\0\0\0abc", 7), "end within an element"),
        (binary(b"\x03\0\0\0abc\x01", 8), "end within an element"),
        (binary(b"\x01\0\0\0a\x01\0\0\0b", 10), "takes 1 elements, and 2 came"),
        (binary(b"abc", 4), "binary_data_size is 4, but 3 bytes follow"),
        (binary(b"abcd", 4, name="image", datatype="UINT8", shape=[1, 1, 3]), "takes 3 bytes as UINT8, and 4 came"),
        (binary(b"\x01\0\0\0a", 5, length="99999"), f"The header {HEADER} must be the number of bytes"),
        (binary(b"\x01\0\0\0a", 5, length="-1"), f"The header {HEADER} must be"),
        (binary(b"\x01\0\0\0a!!", 5), "2 bytes follow the last input"),
    ],
)
def test_bytes_that_do_not_fit_are_told(service, made, sentence) -> None:
    body, headers = made
    with service.client(**KEY) as http:
        answer = http.post(URL, content=body, headers=headers)
    assert (answer.status_code, sentence in answer.json()["error"]) == (400, True), answer.text


def test_bounds_hold_here_too(service) -> None:
    with service.client(**KEY) as http:
        pixels = {"shape": [10**4, 10**4, 3], "parameters": {"binary_data_size": 0}}
        few = http.post(URL, content=json.dumps({"inputs": [PIXEL | pixels]}))
        assert "takes 300,000,000 bytes as UINT8, and 0 came" in few.json()["error"]
        packed = http.post(URL, content=b"{}", headers={"Content-Encoding": "gzip"})
        assert (packed.status_code, "not compressed" in packed.json()["error"]) == (415, True)
    with httpx.Client(base_url=service.url) as stranger:
        assert stranger.post(URL, json={"inputs": [PIXEL]}).status_code == 401
