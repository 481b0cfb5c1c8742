"""Every route with every kind of bad value in each of its fields: a sentence and a status, never 500."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from fastapi import FastAPI

from mgts_trt.service.api_page import describe
from mgts_trt.service.app import ROUTERS
from tests.helpers.running_service import Running, picture, serving

VALUES = {
    "nothing": b"",
    "a blank": b" ",
    "a word": b"none",
    "not a number": b"nan",
    "no end": b"inf",
    "below zero": b"-1",
    "zero": b"0",
    "too large a number": b"1e400",
    "more digits than Python reads": b"9" * 5000,
    "more than 64 bits": b"9223372036854775808",
    "almost too large": b"1e308,1e308,1e308,1e308",
    "a box beyond float32": b"1e39,0,2e39,1",
    "a box inside out": b"5,5,1,1",
    "a box of nothing": b"1,1,1,1",
    "a box of no end": b"0,0,inf,nan",
    "a box far away": b"-900,-900,-800,-800",
    "three numbers": b"1,2,3",
    "a NUL": b"\0",
    "no UTF-8": b"\xff\xfe\x80",
    "half a surrogate": b"\xed\xa0\x80",
    "beyond the BMP": "𝔘".encode(),
    "an empty list": b"[]",
    "a list of lists": b"[[]]",
    "an object": b"{}",
    "null": b"null",
    "a list too deep": b"[" * 100_000,
    "a huge integer in a list": b"[" + b"9" * 4000 + b"]",
    "half a list": b"[1, 2",
    "a box in JSON of no end": b"[[0, 0, 1e999, 1]]",
    "a box in JSON of nothing": b"[[3, 3, 3, 3]]",
    "zeros": json.dumps([0] * 128).encode(),
    "an embedding that overflows": json.dumps([1e38] * 128).encode(),
    "an embedding with a hole": b"[" + b",".join([b"1"] * 127 + [b"NaN"]) + b"]",
    "no condition": b"=",
    "a condition without a value": b"camera=",
    "a quote left open": b'source="a',
    "a text compared": b"source<1",
    "a number compared with words": b"time=yesterday",
    "a frame beyond 64 bits": b"number>99999999999999999999",
    "SQL": b"camera='; DROP TABLE people --",
    "a condition twice": b"camera=1,camera=2",
    "a quote in a condition": b"camera=it's",
    "a NUL in a condition": b"camera=\0",
    "a long text": b"x" * 200_000,
    "a path": b"../../../etc/passwd",
}
"""What a client may send in a field by mistake or on purpose."""


def fields() -> Iterator[tuple[str, str, str, str]]:
    """Of all routes: method, path, whether it is a field of the `path`, the `query` or the `form`, and its name."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    described = describe(app)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                yield method, path, parameter["in"], parameter["name"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "$ref" not in content["schema"]:  # a body of another protocol: test_inference_routes.py
                    continue
                schema = described["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
                yield from ((method, path, "form", name) for name in schema["properties"])


FIELDS = list(fields())


def test_every_route_with_fields_is_here() -> None:
    found = {(path, name) for _, path, _, name in FIELDS}
    assert {("/detect", "image"), ("/embed", "boxes"), ("/index", "time"), ("/search", "where")} <= found
    assert {("/people/{id}/scene", "id"), ("/people/{id}/scene", "offset"), ("/people", "since")} <= found
    assert ("/sources", "source") in found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With a gallery that holds somebody; at its end there must be no traceback in its log."""
    folder = tmp_path_factory.mktemp("bad-values")
    with serving(folder, "--gallery", folder / "gallery") as running:
        with running.client() as client:
            files = {"images": ("a.png", picture((0, 1)))}
            client.post("/index", files=files, data={"camera": "1", "time": "5"}).raise_for_status()
        yield running


def multipart(parts: list[tuple[str, bytes, bool]]) -> dict[str, Any]:
    """Name, content, whether it is a file: written by hand, for what no client library would send."""
    body = b""
    for name, content, is_file in parts:
        file = b'; filename="a.png"' if is_file else b""
        body += b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (name.encode(), file)
        body += content + b"\r\n"
    return {"content": body + b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


def requests_with(
    method: str, path: str, kind: str, name: str, value: bytes, *, also: bool
) -> Iterator[tuple[str, str, dict]]:
    """The requests that hold one value: as a text, and of a form `also` as a file and twice; the rest is whole."""
    others = {"id": "x", "model": "person_search", "version": "1"}
    if kind == "path":
        yield method, path.format(**{**others, name: _quoted(value)}), {}
        return
    address = path.format(**others)
    if kind == "query":
        yield method, f"{address}?{name}={_quoted(value)}", {}
        return
    whole = ("images" if path == "/index" else "image", picture((0, 1)), True)
    rest = [] if name in (whole[0], "embedding", "person") else [whole]
    forms = [(name, value, False)], [(name, value, True)], [(name, value, False), (name, value, False)]
    for parts in forms if also else forms[:1]:
        yield method, address, multipart(rest + parts)


def _quoted(value: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in value[:2000])


@pytest.mark.parametrize(("method", "path", "kind", "name"), FIELDS, ids=[f"{f[0]} {f[1]} {f[3]}" for f in FIELDS])
def test_no_value_of_any_field_is_a_defect(service: Running, method: str, path: str, kind: str, name: str) -> None:
    with service.client() as client:
        for number, (what, value) in enumerate(VALUES.items()):
            # What a file or a second value does hardly depends on which it is.
            for verb, address, content in requests_with(method, path, kind, name, value, also=number % 8 == 0):
                response = client.request(verb, address, **content)
                check(response, what)


BODIES = {
    "no body": {},
    "JSON": {"json": {"image": "x"}},
    "no boundary": {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    "another boundary": {"content": b"--c\r\n\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    "an empty multipart": {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    "cut in a header": {
        "content": b"--b\r\nContent-Dispo",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    },
    "a part without a name": {
        "content": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    },
    "urlencoded": {"data": {"image": "x", "top": "1"}},
    "urlencoded bytes": {
        "content": b"image=%ff%00&\xff=\xfe",
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    },
    "an unknown charset": {
        "content": b"--b--",
        "headers": {"Content-Type": "multipart/form-data; boundary=b; charset=klingon"},
    },
    "1001 fields": multipart([("x", b"", False)] * 1001),
    "1001 files": multipart([("image", b"", True)] * 1001),
    "a content type that is none": {"content": b"x", "headers": {"Content-Type": ";;;"}},
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("path", sorted({path for method, path, kind, _ in FIELDS if kind == "form"}))
def test_no_body_is_a_defect(service: Running, path: str, case: str) -> None:
    with service.client() as client:
        check(client.post(path, **BODIES[case]), case)


NAMES = [
    b"",
    b"\xff\xfe.jpg",
    b"\xed\xa0\x80.png",
    b"a" * 5000,
    b"../../x.png",
    b"a\x00b.png",
    b"\xf0\x9d\x94\x98",
    b"\t\t",
]


@pytest.mark.parametrize("path", ["/detect", "/embed", "/index", "/search"])
def test_no_file_name_is_a_defect(service: Running, path: str) -> None:
    field = b"images" if path == "/index" else b"image"
    with service.client() as client:
        for number, (name, data) in enumerate((name, data) for name in NAMES for data in (picture((0, 1)), b"broken")):
            data += b"%d" % number  # new to the gallery
            head = b'Content-Disposition: form-data; name="%s"; filename="%s"' % (field, name)
            body = b"--b\r\n" + head + b"\r\n\r\n" + data + b"\r\n--b--\r\n"
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            check(client.post(path, content=body, headers=headers), repr(name))


def check(response: httpx.Response, what: str) -> None:
    """An answer, or an error with its sentence; 500 and 503 would be the service's own fault."""
    assert response.status_code < 500, (what, response.text)
    if response.status_code >= 400:
        assert list(response.json()) == ["error"], what
        assert response.json()["error"], what


def test_a_defect_would_be_noticed(tmp_path: Path) -> None:
    """The log of a service that failed with 500 fails the test that ran it."""
    with (
        pytest.raises(AssertionError, match="Traceback"),
        serving(tmp_path) as running,
        running.log.open("a") as log,
    ):
        log.write("Traceback (most recent call last):\n")
