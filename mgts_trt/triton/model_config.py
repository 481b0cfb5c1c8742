"""What Triton is told of a model: its `config.pbtxt`, in protobuf's text format."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

RESOURCE = "mgts"
"""Of which each instance takes one while it runs, where the server limits rates: two then do not run at once."""

QUEUE_SECONDS = 30
"""A request that has waited so long is refused, as `mgts-trt serve` refuses it."""


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: Of the tensor.
        kind: What the configuration calls its type, as FP32; STRING is bytes.
        dims: Its shape without the dimension of the batch; -1 is any length.
        optional: Whether an input may be left out.
    """

    name: str
    kind: str
    dims: tuple[int, ...]
    optional: bool = False

    @property
    def text(self) -> str:
        """Its part of the file."""
        return f"name: {_quoted(self.name)} data_type: TYPE_{self.kind} dims: {list(self.dims)}"


@dataclass(frozen=True)
class ModelConfig:
    """A model.

    Attributes:
        name: Of the model.
        runs: What runs it: a backend or a platform, as the file has it.
        inputs: What it takes.
        outputs: What it gives.
        parameters: What a Python model reads when it is loaded.
        batch: Most that run together; each tensor then has a dimension before those of `dims`. 0 without that.
        ragged: Whether what runs together may differ in size.
        instances: Of each GPU, or on the CPU.
        gpus: Numbers of the GPUs; without any Triton takes each there is, else the CPU.
        on_gpu: Whether it cannot run on the CPU.
        queue: Requests that may wait; the next one is refused.
        warm_up: Shapes of inputs of one run before the model is ready, zeros.
    """

    name: str
    runs: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    parameters: Mapping[str, str] = field(default_factory=dict)
    batch: int = 0
    ragged: bool = False
    instances: int = 1
    gpus: Sequence[int] = ()
    on_gpu: bool = False
    queue: int = 64
    warm_up: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def text(self) -> str:
        """The file's content."""
        parts = [
            f"name: {_quoted(self.name)}",
            self.runs,
            f"max_batch_size: {self.batch}",
            *_block("input", map(self._input, self.inputs)),
            *_block("output", (each.text for each in self.outputs)),
            *self._instance_group(),
            *self._queue(),
        ]
        for key, value in self.parameters.items():
            parts += [f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"]
        if self.warm_up:
            kinds = {each.name: each.kind for each in self.inputs}
            parts += ["model_warmup {", '  name: "zeros"', "  batch_size: 1"]
            parts += [f"  {_warm_up(name, kinds[name], shape)}" for name, shape in self.warm_up.items()]
            parts += ["}"]
        return "\n".join(parts) + "\n"

    def _input(self, tensor: Tensor) -> str:
        optional = " optional: true" if tensor.optional else ""
        ragged = " allow_ragged_batch: true" if self.batch and self.ragged and -1 in tensor.dims else ""
        return tensor.text + optional + ragged

    def _instance_group(self) -> list[str]:
        place = f"kind: KIND_{'GPU' if self.gpus or self.on_gpu else 'AUTO'}"
        if self.gpus:
            place += f" gpus: [{', '.join(map(str, self.gpus))}]"
        limit = f'rate_limiter {{ resources [ {{ name: "{RESOURCE}" count: 1 }} ] priority: 1 }}'
        return _block("instance_group", [f"count: {self.instances} {place} {limit}"])

    def _queue(self) -> list[str]:
        """A queue with bounds is the dynamic batcher's, without batches, too."""
        return [
            "dynamic_batching {",
            f"  default_queue_policy {{ max_queue_size: {self.queue} timeout_action: REJECT "
            f"default_timeout_microseconds: {QUEUE_SECONDS * 1_000_000} }}",
            "}",
        ]


def _warm_up(name: str, kind: str, shape: Sequence[int]) -> str:
    value = f"data_type: TYPE_{kind} dims: {list(shape)} zero_data: true"
    return f"inputs {{ key: {_quoted(name)} value {{ {value} }} }}"


def _block(name: str, items: Iterable[str]) -> list[str]:
    return [f"{name} [", ",\n".join(f"  {{ {item} }}" for item in items), "]"]


def _quoted(text: str) -> str:
    """As protobuf's text format takes a string: JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False)
