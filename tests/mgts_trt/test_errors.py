"""The sentence about what a pydantic model refuses."""

import subprocess
import sys
from typing import Any, Self

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mgts_trt.errors import first_fault


class Wheel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spokes: int


class Cart(BaseModel):
    wheels: tuple[Wheel, ...]
    axle: dict[str, Wheel] = {}

    @model_validator(mode="after")
    def _even(self) -> Self:
        if len(self.wheels) % 2:
            raise ValueError(f"an even number of wheels expected, got {len(self.wheels)}")
        return self


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "at wheels: Field required"),
        ({"wheels": [], "axle": {"rear": {}}}, "at axle.rear.spokes: Field required"),
        ({"wheels": [{"spokes": 9}, {"spokes": 8, "rim": 1}]}, "at wheels.1.rim: Extra inputs are not permitted"),
        ({"wheels": [{"spokes": 9}]}, "at its top: an even number of wheels expected, got 1"),
        (["wheels"], "at its top: Input should be a valid dictionary or instance of Cart"),
        ({"wheels": [{}, {"spokes": "many"}]}, "at wheels.0.spokes: Field required"),
    ],
)
def test_the_first_fault_in_words(data: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Cart.model_validate(data)
    assert first_fault(caught.value) == sentence


def test_the_errors_do_not_wait_for_pydantic() -> None:
    code = "import sys, mgts_trt.errors; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
