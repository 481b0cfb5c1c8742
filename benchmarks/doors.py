"""The doors that servers of a bundle have, each asked as its own users ask: one picture in, the same people out.

All HTTP goes through aiohttp, as `tritonclient`'s does: it takes half a millisecond of the processor a request, where
others take three and more, which on the server's own cores would be measured with it.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias, get_args

import aiohttp
import numpy as np

Door: TypeAlias = Literal["own HTTP", "v2 JSON", "v2 binary", "Triton HTTP", "Triton gRPC"]

DOORS: tuple[Door, ...] = get_args(Door)

Ask: TypeAlias = Callable[[bytes], Awaitable[int]]
"""Sends a picture's file, and gives how many people came back."""

OUTPUTS = ("boxes", "scores", "embeddings")
"""Asked for at each door: what `POST /embed` answers."""

MODEL = "person_search"
SECONDS = 600
"""To wait for an answer."""


@asynccontextmanager
async def open_door(door: Door, server: str) -> AsyncIterator[Ask]:
    """A client of a door, for any number of requests at once.

    Args:
        door: Which.
        server: HOST:PORT of the service, or of Triton's HTTP or gRPC.
    """
    if door in ("own HTTP", "v2 JSON"):
        timeout = aiohttp.ClientTimeout(SECONDS)
        async with aiohttp.ClientSession(f"http://{server}", timeout=timeout, raise_for_status=True) as session:
            yield _own(session) if door == "own HTTP" else _json(session)
    elif door == "Triton gRPC":
        import tritonclient.grpc.aio as over_grpc

        async with over_grpc.InferenceServerClient(server) as client:
            yield _tensors(over_grpc, client)
    else:
        import tritonclient.http.aio as over_http

        async with over_http.InferenceServerClient(server, conn_timeout=SECONDS) as client:
            yield _tensors(over_http, client)


def _own(session: aiohttp.ClientSession) -> Ask:
    async def ask(data: bytes) -> int:
        form = aiohttp.FormData()
        form.add_field("image", data, filename="photo")
        async with session.post("/embed", data=form) as response:
            return len((await response.json())["people"])

    return ask


def _json(session: aiohttp.ClientSession) -> Ask:
    async def ask(data: bytes) -> int:
        text = base64.b64encode(data).decode()
        file = {"name": "file", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
        body = {"inputs": [file | {"data": [text]}], "outputs": [{"name": name} for name in OUTPUTS]}
        async with session.post(f"/v2/models/{MODEL}/infer", json=body) as response:
            found = {each["name"]: each for each in (await response.json())["outputs"]}
        embeddings = np.array(found["embeddings"]["data"], np.float32).reshape(found["embeddings"]["shape"])
        return len(embeddings)

    return ask


def _tensors(module: Any, client: Any) -> Ask:
    outputs = [module.InferRequestedOutput(name) for name in OUTPUTS]

    async def ask(data: bytes) -> int:
        file = module.InferInput("file", [1], "BYTES")
        file.set_data_from_numpy(np.array([data], np.object_))
        found = await client.infer(MODEL, [file], outputs=outputs)
        return len(found.as_numpy("embeddings"))

    return ask
