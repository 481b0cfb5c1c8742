"""What Triton is told of a model: its `config.pbtxt`, in protobuf's text format."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mgts_trt.open_inference.models import ModelSpec, TensorSpec

RESOURCE = "mgts"
"""Of which each instance takes one while it runs, where the server limits rates: two then do not run at once."""

QUEUE_SECONDS = 30
"""A request that has waited so long is refused, as `mgts-trt serve` refuses it."""


_KINDS = {"BYTES": "STRING"}
"""What the configuration calls a type otherwise than the protocol."""


@dataclass(frozen=True)
class ModelConfig:
    """A model of the Python backend.

    Attributes:
        spec: Its name and tensors.
        parameters: What the model reads when it is loaded.
        batch: Most requests that are searched together; each tensor then has a dimension of 1 before the others. 0 for
            a model that takes one at once, with tensors as the spec says.
        instances: Of each GPU, or on the CPU.
        gpus: Numbers of the GPUs; without any Triton takes each there is, else the CPU.
        queue: Requests that may wait; the next one is refused.
        warm_up: Shapes of inputs of one run before the model is ready, zeros.
    """

    spec: ModelSpec
    parameters: Mapping[str, str]
    batch: int = 0
    instances: int = 1
    gpus: Sequence[int] = ()
    queue: int = 64
    warm_up: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def text(self) -> str:
        """The file's content."""
        parts = [
            f"name: {_quoted(self.spec.name)}",
            'backend: "python"',
            f"max_batch_size: {self.batch}",
            *_block("input", map(self._input, self.spec.inputs)),
            *_block("output", map(_tensor, self.spec.outputs)),
            *self._instance_group(),
            *self._queue(),
        ]
        for key, value in self.parameters.items():
            parts += [f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"]
        if self.warm_up:
            kinds = {each.name: _kind(each) for each in self.spec.inputs}
            parts += ["model_warmup {", '  name: "a black picture"', "  batch_size: 1"]
            parts += [f"  {_warm_up(name, kinds[name], shape)}" for name, shape in self.warm_up.items()]
            parts += ["}"]
        return "\n".join(parts) + "\n"

    def _input(self, tensor: TensorSpec) -> str:
        """Requests whose pictures differ in size may share a batch."""
        optional = " optional: true" if tensor.optional else ""
        ragged = " allow_ragged_batch: true" if self.batch and -1 in tensor.shape else ""
        return _tensor(tensor) + optional + ragged

    def _instance_group(self) -> list[str]:
        place = f"kind: KIND_GPU gpus: [{', '.join(map(str, self.gpus))}]" if self.gpus else "kind: KIND_AUTO"
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


def _tensor(tensor: TensorSpec) -> str:
    return f"name: {_quoted(tensor.name)} data_type: TYPE_{_kind(tensor)} dims: {list(tensor.shape)}"


def _kind(tensor: TensorSpec) -> str:
    return _KINDS.get(tensor.datatype, tensor.datatype)


def _warm_up(name: str, kind: str, shape: Sequence[int]) -> str:
    value = f"data_type: TYPE_{kind} dims: {list(shape)} zero_data: true"
    return f"inputs {{ key: {_quoted(name)} value {{ {value} }} }}"


def _block(name: str, items: Iterable[str]) -> list[str]:
    return [f"{name} [", ",\n".join(f"  {{ {item} }}" for item in items), "]"]


def _quoted(text: str) -> str:
    """As protobuf's text format takes a string: JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False)
