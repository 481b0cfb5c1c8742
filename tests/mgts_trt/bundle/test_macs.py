import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.bundle import macs
from mgts_trt.bundle.macs import Operand, Work, Workload, macs_text, share, share_text, working_precision

WORK = Workload(
    (Work("a", "Conv", 600, "fp16"), Work("b", "Conv", 300, "fp32"), Work("c", "MatMul", 100, "fp16"))
)  # fmt: skip


def test_a_workload_is_counted_by_macs_not_by_layers():
    assert WORK.total == 1000
    assert WORK.by_precision == {"fp16": 700, "fp32": 300}
    assert share(WORK.by_precision, "fp16") == 0.7
    assert share(WORK.by_precision, "int8") == 0.0
    assert share({}, "fp16") is None


def test_the_largest_layers():
    assert [layer.name for layer in WORK.largest(2)] == ["a", "b"]
    assert [layer.name for layer in WORK.largest(2, besides="fp16")] == ["b"]


@pytest.mark.parametrize(
    ("operands", "precision"),
    [
        ((("float32", None), ("float32", None)), "fp32"),
        ((("float16", None), ("float16", None)), "fp16"),
        ((("float32", "int8"), ("float32", "int8")), "int8"),
        ((("float32", "int8"), ("float32", None)), "fp32"),
        ((("float16", None), ("float16", "int8")), "fp16"),
        ((("float16", "int8"), ("float16", "uint8")), "fp16"),
        ((("bfloat16", None), ("bfloat16", None)), "bf16"),
    ],
)
def test_the_precision_of_a_product(operands, precision):
    assert working_precision(*(Operand(*operand) for operand in operands)) == precision


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 30),
        (" b i j, b j k -> b i k", [(7, 2, 3), (7, 3, 5)], 210),
        ("bij,bjk->bik", [(7, 2, 3), (1, 3, 5)], 210),
        ("i,i", [(4,), (4,)], 4),
        ("...ij,jk->...ik", [(7, 2, 3), (3, 5)], None),
    ],
)
def test_einsum(equation, shapes, expected):
    assert macs.einsum(equation, shapes) == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 MACs"),
        (999, "999 MACs"),
        (1500, "1.5 kMACs"),
        (929_000_000, "929 MMACs"),
        (12_340_000_000, "12.3 GMACs"),
        (5_000_000_000_000, "5,000 GMACs"),
    ],
)
def test_macs_for_people(count, text):
    assert macs_text(count) == text


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "–"),
        ({"fp32": 0}, "–"),
        ({"fp16": 5}, "100% fp16"),
        ({"fp32": 3, "fp16": 997}, "99.7% fp16, 0.3% fp32"),
        ({"fp16": 999_999, "fp32": 1}, "99.9% fp16, <0.1% fp32"),
    ],
)
def test_shares_for_people(counts, text):
    assert share_text(counts) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0%"), (1e-9, "<0.1%"), (0.29, "29.0%"), (0.99999, "99.9%"), (1.0, "100%")]
)
def test_percent(value, text):
    assert macs.percent(value) == text


@given(st.dictionaries(st.sampled_from(["fp32", "fp16", "int8"]), st.integers(1, 10**12), min_size=1))
def test_shares_sum_to_one_and_only_all_is_100_percent(counts):
    assert sum(share(counts, precision) for precision in counts) == pytest.approx(1)
    assert ("100%" in share_text(counts)) == (len(counts) == 1)
