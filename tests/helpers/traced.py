"""Traces of networks, kept for all processes of a run: the tests export the same tiny networks again and again."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def traced_once(folder: Path) -> Iterator[None]:
    """Meanwhile the exporter takes a trace of an equal graph with equal inputs from a folder, where one is there."""
    from export import exporter
    from export.graphs import trace

    plain = trace.export_onnx

    def export_onnx(graph: Any, inputs: dict[str, Any], path: Path, *, dynamic: str | None = None) -> None:
        kept = folder / f"{_told_apart(graph, inputs, dynamic)}.onnx"
        if not kept.exists():
            plain(graph, inputs, path, dynamic=dynamic)
            own = folder / f"{kept.stem}.{os.getpid()}"
            shutil.copy(path, own)
            own.replace(kept)
        shutil.copy(kept, path)

    folder.mkdir(parents=True, exist_ok=True)
    with mock.patch.object(exporter, "export_onnx", export_onnx), mock.patch.object(trace, "export_onnx", export_onnx):
        yield


def _told_apart(graph: Any, inputs: dict[str, Any], dynamic: str | None) -> str:
    """A hash of all that a trace depends on: modules with their settings, weights, inputs."""
    told = hashlib.sha256(repr(dynamic).encode())
    for name, module in graph.named_modules():
        settings = {key: _whole(value) for key, value in vars(module).items() if not key.startswith("_")}
        told.update(f"{name} {type(module).__module__}.{type(module).__qualname__} {settings}".encode())
    for name, tensor in (*graph.state_dict(keep_vars=True).items(), *graph.named_buffers(), *inputs.items()):
        told.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        told.update(tensor.detach().contiguous().numpy().tobytes())
    return told.hexdigest()


def _whole(value: Any) -> Any:
    """Where it is a tensor, all of it: printed, its middle would be left out."""
    return value.detach().numpy().tobytes() if hasattr(value, "detach") else value
