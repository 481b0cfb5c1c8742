from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from mgts_trt._typing import Array
from mgts_trt.bundle.cpu_forms import ANYWHERE, compiled_forms, folder, with_cpu_forms
from mgts_trt.bundle.operators import OPERATORS, function
from mgts_trt.stages.align_rois import align_rois
from mgts_trt.stages.ps_assemble import ps_assemble
from tests.helpers.operators import align_rois as regions
from tests.helpers.operators import nms as suppressing
from tests.helpers.operators import ps_assemble as assembling
from tests.helpers.operators.case import Case
from tests.helpers.operators.forms import one_node
from tests.helpers.operators.regions import MAP_HW, maps_of, region_kinds


def swapped(operator: str, case: Case, like: Array, folder: Path) -> bytes:
    """A case's model with the CPU's forms."""
    path = folder / "model.onnx"
    onnx.save(one_node(operator, case, [like]), path)
    model = with_cpu_forms(path)
    assert model is not None
    return model


def run(model: bytes, case: Case) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(case.inputs))[0])


@pytest.mark.parametrize("case", suppressing.CASES, ids=str)
def test_nms_is_exact_however_long_a_chain(case: Case, tmp_path: Path) -> None:
    expected = suppressing.reference(case)
    np.testing.assert_array_equal(run(swapped("Nms", case, expected, tmp_path), case), expected)


READERS = {"AlignRois": (align_rois, regions), "PsAssemble": (ps_assemble, assembling)}
READING = [
    pytest.param(name, case, id=f"{name}, {case}") for name, (_, cases) in READERS.items() for case in cases.CASES
]


@pytest.mark.parametrize(("operator", "case"), READING)
def test_regions_are_equal(operator: str, case: Case, tmp_path: Path) -> None:
    expected = READERS[operator][0](**case.inputs, **case.attributes)
    found = run(swapped(operator, case, expected, tmp_path), case)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(
        found.astype(np.float32), expected.astype(np.float32), rtol=0, atol=case.tolerance, equal_nan=True
    )


@pytest.mark.parametrize("operator", READERS)
def test_boxes_that_are_no_numbers_end_no_run(operator: str, tmp_path: Path) -> None:
    reference, cases = READERS[operator]
    expected = reference(**cases.NO_NUMBERS.inputs, **cases.NO_NUMBERS.attributes)
    assert run(swapped(operator, cases.NO_NUMBERS, expected, tmp_path), cases.NO_NUMBERS).shape == expected.shape


MARGIN = np.array([-8, -8, 8, 8], np.float32)  # half a cell
WHOLE = region_kinds(16)["the whole map"]
PATHS = [
    ("AlignRois", region_kinds(16)["inside"], {}, True),
    ("AlignRois", region_kinds(16)["inverted"], {}, True),
    ("AlignRois", WHOLE + MARGIN, {}, True),
    ("AlignRois", WHOLE + MARGIN * 1.01, {}, False),
    ("AlignRois", region_kinds(16)["inside"], {"samples": 3}, False),
    ("PsAssemble", region_kinds(16)["inside"], {}, True),
    ("PsAssemble", WHOLE + MARGIN, {}, True),
    ("PsAssemble", WHOLE + MARGIN * 1.01, {}, False),
    ("PsAssemble", region_kinds(16)["inside"], {"bins": 3, "size": 12}, False),
]


@pytest.mark.parametrize(("operator", "boxes", "attributes", "fast"), PATHS)
def test_the_operators_own_body_is_called_only_where_the_form_is_not_equal(
    operator: str, boxes: Array, attributes: dict[str, int], fast: bool, tmp_path: Path
) -> None:
    reference, cases = READERS[operator]
    case = cases.case("", maps_of(18, MAP_HW) + 9, boxes, **attributes)
    expected = reference(**case.inputs, **case.attributes)
    model = onnx.ModelProto.FromString(swapped(operator, case, expected, tmp_path))
    own = next(each for each in model.functions if each.name == operator + ANYWHERE)
    own.node[-1].output[0] = "right"
    own.node.append(helper.make_node("Sub", ["right", "right"], list(own.output)))  # and now 0
    np.testing.assert_allclose(run(model.SerializeToString(), case), expected * fast, rtol=0, atol=1e-4)


def test_the_bytes_are_the_text() -> None:
    assert (folder() / "functions.bin").read_bytes() == compiled_forms(), "make operators writes them anew"


def test_a_form_takes_what_its_operator_takes() -> None:
    forms = {each.name: each for each in onnx.ModelProto.FromString(compiled_forms()).functions}
    assert {path.stem for path in folder().glob("*.txt")} == forms.keys() & set(OPERATORS)
    for name in forms.keys() & set(OPERATORS):
        for part in ("domain", "input", "attribute"):
            assert getattr(forms[name], part) == getattr(function(name), part)
        assert len(forms[name].output) == len(function(name).output)


@pytest.mark.parametrize("content", [None, b"", b"no model", onnx.ModelProto(ir_version=10).SerializeToString()])
def test_other_files_are_left_alone(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert with_cpu_forms(path) is None


def test_an_operator_without_a_form_is_left_alone(tmp_path: Path) -> None:
    maps = {name: np.ones((2, 3, 4, 4), np.float32) for name in ("foreground", "original")}
    weights = {"squeeze": np.ones((2, 6), np.float32), "excite": np.ones((6, 2), np.float32)}
    case = Case("", {**maps, **weights, "fc": np.ones((5, 6), np.float32)})
    onnx.save(one_node("SeHead", case, [np.ones((2, 5), np.float32)]), tmp_path / "m.onnx")
    assert with_cpu_forms(tmp_path / "m.onnx") is None
