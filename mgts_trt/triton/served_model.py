"""What Triton's Python backend runs: it opens a bundle, reads requests, and answers each by itself."""

import json
import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.choices import Backend, Mode
from mgts_trt.errors import ImageError, MgtsError, ProtocolError
from mgts_trt.open_inference.models import bundle_specs, people_arrays
from mgts_trt.open_inference.sent import boxes_of, picture_of
from mgts_trt.pictures.bounded import MEGAPIXEL, require_pillow
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

_Found: TypeAlias = People | Exception

DECODERS = 2
"""Threads that decode the pictures of requests which Triton hands over together."""


class ServedModel:
    """Triton's interface of a Python model: it calls `initialize`, `execute` and `finalize`.

    Attributes:
        triton: The module `triton_python_backend_utils`, which only Triton's own process has: set by `model.py` in the
            repository, which derives a class from this one.
    """

    triton: ClassVar[Any]

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle, as the parameters of `config.pbtxt` say, and warm it up.

        Args:
            args: Of Triton: `model_config` as JSON, and where the instance is to run.

        Raises:
            TritonModelException: It cannot be opened, or run here; Triton tells why, and serves the other models.
        """
        config = json.loads(args["model_config"])
        told = {key: value["string_value"] for key, value in config["parameters"].items()}
        if args["model_instance_kind"] == "GPU":
            show_one_gpu(int(args["model_instance_device_id"]))
        self._batched = config["max_batch_size"] > 0
        try:
            require_pillow()
            self._search = PersonSearch.open(
                told["bundle"],
                mode=cast(Mode, told["mode"]),
                backend=cast(Backend, told["backend"]),
                precision=told["precision"],
                threads=int(told["threads"]) if told.get("threads") else None,
                batch_size=None if self._batched else 1,
            )
            self._search.warm_up()
        except MgtsError as error:
            raise self.triton.TritonModelException(str(error)) from error
        self._spec = bundle_specs(self._search.bundle, self._search.mode)[told["model"]]
        self._most_pixels = int(float(told["max_megapixels"]) * MEGAPIXEL)
        self._pool = ThreadPoolExecutor(DECODERS, "mgts-picture")

    def finalize(self) -> None:
        """Free everything."""
        self._pool.shutdown(cancel_futures=True)
        self._search.close()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, which Triton hands over together where the model has batches.

        Returns:
            An answer for each, in order; a bad picture costs its own request alone.
        """
        images = list(self._pool.map(_attempt, [self._loader(request) for request in requests]))
        if any(each.name == "boxes" for each in self._spec.inputs):
            found = [self._described(request, image) for request, image in zip(requests, images, strict=True)]
        else:
            found = self._searched(images)
        return [self._answer(request, each) for request, each in zip(requests, found, strict=True)]

    def _loader(self, request: Any) -> Callable[[], Image]:
        try:
            return picture_of(self._inputs(request), self._most_pixels)
        except Exception as error:
            refused = error

        def refuse() -> Image:
            raise refused

        return refuse

    def _inputs(self, request: Any) -> dict[str, Array]:
        """Those that came, without the dimension of the batch."""
        found: dict[str, Array] = {}
        for each in self._spec.inputs:
            tensor = self.triton.get_input_tensor_by_name(request, each.name)
            if tensor is None:
                continue
            array = tensor.as_numpy()
            if self._batched and len(array) != 1:
                raise ProtocolError(
                    f"The input {each.name} holds {len(array)} pictures, but a request brings one: [1, …]. The server "
                    "searches those of several requests together."
                )
            found[each.name] = array[0] if self._batched else array
        return found

    def _searched(self, images: Sequence[Image | Exception]) -> list[_Found]:
        good = [each for each in images if not isinstance(each, Exception)]
        try:
            people = iter(self._search.batch(good, errors="return"))
        except Exception as error:
            return [each if isinstance(each, Exception) else error for each in images]
        return [each if isinstance(each, Exception) else next(people) for each in images]

    def _described(self, request: Any, image: Image | Exception) -> _Found:
        if isinstance(image, Exception):
            return image
        try:
            boxes = boxes_of(self._inputs(request), self._spec)
            assert boxes is not None  # this model takes some
            return self._search.embed(image, boxes)
        except Exception as error:
            return error

    def _answer(self, request: Any, found: _Found) -> Any:
        if isinstance(found, Exception):
            return self._refusal(found)
        try:
            arrays = people_arrays(found, frozenset(request.requested_output_names()))
        except Exception as error:
            return self._refusal(error)
        tensors = [
            self.triton.Tensor(name, np.ascontiguousarray(array[None] if self._batched else array))
            for name, array in arrays.items()
        ]
        return self.triton.InferenceResponse(tensors)

    def _refusal(self, error: Exception) -> Any:
        """What the client did wrong is told; what only the operator can mend stands in the log alone."""
        kind = self.triton.TritonError
        if isinstance(error, ImageError | ProtocolError):
            return self.triton.InferenceResponse(error=kind(str(error), kind.INVALID_ARG))
        told = str(error) if isinstance(error, MgtsError) else "".join(traceback.format_exception(error))
        self.triton.Logger.log_error(told)
        return self.triton.InferenceResponse(
            error=kind("Pictures cannot be searched now. The server's log says why.", kind.INTERNAL)
        )


def show_one_gpu(number: int) -> None:
    """Have this process see one GPU alone, before CUDA is loaded: each instance is a process of its own.

    Args:
        number: Triton's, which counts what `CUDA_VISIBLE_DEVICES` leaves.
    """
    visible = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)


def _attempt(load: Callable[[], Image]) -> Image | Exception:
    try:
        return load()
    except Exception as error:
        return error
