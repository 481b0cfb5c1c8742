"""What a plan folder runs: a chain of engines, and of the operators that kernels compute between them.

A network built whole is a chain of one engine. Built with its operators as kernels (`mgts_trt.choices.Lowering`), it is
cut where it calls an operator of the domain `mgts`; `engines/operators/README.md` says what each computes. Steps run in
their order on one stream. A tensor has one name along the whole chain: one that a step reads is an input of the
network, comes from a step before, or is a constant in `constants.npz` beside the engines.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from mgts_trt._typing import Self
from mgts_trt.bundle.manifest import Sha256
from mgts_trt.bundle.tensors import Name, TensorSpec

CONSTANTS = "constants.npz"
"""The constants of a chain's operators, float32, by tensor name; there is no such file where there are none."""

Count = Annotated[int, Field(ge=0)]

Attribute: TypeAlias = StrictInt | StrictFloat | tuple[StrictInt, ...]


class EngineStep(BaseModel):
    """One engine of a chain, as `file` in the plan's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["engine"] = "engine"
    file: Name = Field(pattern=r"^[A-Za-z0-9_.-]+\.plan$")
    sha256: Sha256
    bytes: int = Field(ge=1)
    macs: dict[Name, Count] = Field(
        default_factory=dict, description="precision → MACs done in it, a dynamic dimension at its opt"
    )
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]


class OperatorStep(BaseModel):
    """One operator of a chain, which a kernel computes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["operator"] = "operator"
    operator: Name = Field(description="one of `mgts_trt.bundle.operators.OPERATORS`")
    node: Name = Field(description="of the ONNX graph, for messages")
    inputs: tuple[Name, ...] = Field(description="in the operator's order; tensors or constants")
    outputs: tuple[Name, ...]
    attributes: dict[Name, Attribute] = Field(default_factory=dict)


Step: TypeAlias = Annotated[EngineStep | OperatorStep, Field(discriminator="kind")]


class Chain(BaseModel):
    """Steps, and the tensors between them.

    Attributes:
        steps: In the order they run.
        tensors: Name → type and shape of every tensor that a step reads or writes, constants too.
        constants: Names of those in `constants.npz`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...] = Field(min_length=1)
    tensors: dict[Name, TensorSpec]
    constants: tuple[Name, ...] = ()
    constants_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        written: set[str] = set()
        for step in self.steps:
            for name in (*step.inputs, *step.outputs):
                if name not in self.tensors:
                    raise ValueError(f"the chain does not say what {name} is")
            if again := written & set(step.outputs):
                raise ValueError(f"two steps write {min(again)}")
            written.update(step.outputs)
        if bool(self.constants) != (self.constants_sha256 is not None):
            raise ValueError(f"constants, and they alone, have a checksum of {CONSTANTS}")
        return self

    @property
    def engines(self) -> tuple[EngineStep, ...]:
        """Its engines, in their order."""
        return tuple(step for step in self.steps if isinstance(step, EngineStep))

    @property
    def operators(self) -> tuple[OperatorStep, ...]:
        """Its operators, in their order."""
        return tuple(step for step in self.steps if isinstance(step, OperatorStep))

    def inner(self, inputs: set[str], outputs: set[str]) -> Iterator[str]:
        """Names of the tensors that pass between steps and are neither the network's own nor constants."""
        known = inputs | outputs | set(self.constants)
        yield from (name for name in self.tensors if name not in known)
