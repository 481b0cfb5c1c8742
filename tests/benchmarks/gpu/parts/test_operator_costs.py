"""What an operator must cost, counted by hand beside."""

import pytest

from benchmarks.gpu.parts.operator_costs import OperatorCost, in_half, operator_cost, operator_work
from benchmarks.gpu.report import Ceilings
from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.chain import OperatorStep


def step(operator: str, tensors: dict[str, tuple[int | str, ...]], outputs: int = 1, **attributes: object):
    """An operator and its tensors, float32; the last `outputs` of them are written."""
    names = tuple(tensors)
    made = OperatorStep(
        operator=operator, node=f"/{operator}", inputs=names[:-outputs], outputs=names[-outputs:], attributes=attributes
    )
    return made, {name: TensorSpec(dtype="float32", shape=shape) for name, shape in tensors.items()}


CASES = {
    # Four boxes in, four numbers out; six pairs.
    "Nms": (step("Nms", {"boxes": (1, 4, 4), "keep": (1, 4)}, threshold=0.5), 64, 16, 6 * 12),
    # Every point is read: 5 regions × 2 channels × 3 × 3 bins × 4 points touch the map of 2 × 6 × 8 and more.
    "AlignRois": (
        step("AlignRois", {"features": (1, 2, 6, 8), "boxes": (1, 5, 4), "regions": (5, 2, 3, 3)},
             size=3, samples=(2, 2), stride=16.0, dtype=1),
        4 * 96 + 80, 4 * 90, 8 * 360,
    ),
    # One region of 4 × 4 cells on large maps: four cells of a map each, and no more.
    "PsAssemble": (
        step("PsAssemble", {"maps": (1, 4, 100, 100), "boxes": (1, 1, 4), "assembled": (1, 1, 4, 4)},
             bins=2, size=4, stride=16.0),
        4 * 4 * 16 + 16, 4 * 16, 8 * 16,
    ),
    "SeHead": (
        step("SeHead", {"f": ("N", 6, 2, 2), "o": ("N", 6, 2, 2), "squeeze": (3, 12), "excite": (12, 3), "fc": (5, 12),
                        "embedding": ("N", 5)}),
        2 * 2 * 24 * 4 + (36 + 36 + 60) * 4, 2 * 5 * 4, 2 * 48 + 2 * 2 * 132,
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
def test_bytes_and_arithmetic(operator: str) -> None:
    (each, tensors), read, written, flop = CASES[operator]
    assert operator_cost(each, tensors, {"N": 2}) == OperatorCost(read, written, flop)


@pytest.mark.parametrize("operator", OPERATORS)
def test_in_half_maps_and_what_is_made_of_them_are_half_as_large_and_all_else_is_as_it_was(operator: str) -> None:
    (each, tensors), read, written, flop = CASES[operator]
    cost = operator_cost(each, in_half(each, tensors), {"N": 2})
    maps = {"Nms": 0, "AlignRois": 4 * 96, "PsAssemble": 4 * 4 * 16, "SeHead": 2 * 2 * 24 * 4}[operator]
    assert cost == OperatorCost(read - maps // 2, written // 2 if operator == "AlignRois" else written, flop)
    assert ("float16" in operator_work(each, in_half(each, tensors), {})) == (operator != "Nms")


@pytest.mark.parametrize(
    ("cost", "microseconds"),
    [
        (OperatorCost(3_000_000, 1_000_000, 10**6), 4.0),  # bytes
        (OperatorCost(3_000, 1_000, 10**7), 5.0),  # arithmetic
    ],
)
def test_the_floor_is_whichever_takes_longer(cost: OperatorCost, microseconds: float) -> None:
    assert cost.floor(Ceilings(tflops={"fp32": 2.0}, copy_gbs=1000, how="")) == pytest.approx(microseconds)


def test_without_a_ceiling_of_arithmetic_the_bytes_are_left() -> None:
    ceilings = Ceilings(tflops={}, copy_gbs=1000, how="")
    assert OperatorCost(3_000, 1_000, 10**12).floor(ceilings) == pytest.approx(0.004)


def test_the_work_is_told_by_types_and_shapes() -> None:
    (each, tensors), *_ = CASES["SeHead"]
    assert operator_work(each, tensors, {"N": 2}) == "float32 [2, 6, 2, 2], float32 [2, 6, 2, 2] → float32 [2, 5]"
