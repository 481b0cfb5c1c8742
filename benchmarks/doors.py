"""The doors that servers of a bundle have, each asked as its own users ask: one picture in, the same people out."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias, get_args

import httpx
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
        async with httpx.AsyncClient(base_url=f"http://{server}", timeout=SECONDS) as session:
            yield _own(session) if door == "own HTTP" else _json(session)
    elif door == "Triton gRPC":
        import tritonclient.grpc.aio as over_grpc

        async with over_grpc.InferenceServerClient(server) as client:
            yield _tensors(over_grpc, client)
    else:
        import tritonclient.http.aio as over_http

        async with over_http.InferenceServerClient(server, conn_timeout=SECONDS) as client:
            yield _tensors(over_http, client)


def _own(session: httpx.AsyncClient) -> Ask:
    async def ask(data: bytes) -> int:
        response = await session.post("/embed", files={"image": ("photo", data)})
        return len(response.raise_for_status().json()["people"])

    return ask


def _json(session: httpx.AsyncClient) -> Ask:
    async def ask(data: bytes) -> int:
        text = base64.b64encode(data).decode()
        file = {"name": "file", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
        body = {"inputs": [file | {"data": [text]}], "outputs": [{"name": name} for name in OUTPUTS]}
        response = await session.post(f"/v2/models/{MODEL}/infer", json=body)
        found = {each["name"]: each for each in response.raise_for_status().json()["outputs"]}
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
