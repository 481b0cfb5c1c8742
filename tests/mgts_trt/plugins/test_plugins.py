"""The C++ of the plugins, driven as TensorRT drives it, under the sanitizers; launches are those of the chains."""

import re

import numpy as np
import pytest

from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.plans.chain import OperatorStep
from mgts_trt.plans.plugin_library import KERNELS
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators.kernel_table import kernel_of
from mgts_trt.runtime.operators.operator_kernel import Operand
from tests.helpers.operators import align_rois, nms, ps_assemble, se_head
from tests.helpers.plugins.playing import SCRATCH, as_told, case_lines, kernels, lines, place, played

CASES = {
    "Nms": nms.CASES,
    "AlignRois": [*align_rois.CASES, align_rois.NO_NUMBERS],
    "PsAssemble": ps_assemble.CASES,
    "SeHead": se_head.CASES,
}
TARGETS = [75, 80, 87, 90]
MAPS, HALVES, BOXES = np.zeros((1, 18, 6, 6), np.float32), np.zeros((1, 18, 6, 6), np.float16), np.zeros((1, 5, 4))
GOOD = {
    "Nms": ({"boxes": np.zeros((1, 9, 4), np.float32)}, {"threshold": 0.3}),
    "AlignRois": (
        {"features": HALVES, "boxes": BOXES.astype(np.float32)},
        {"size": 7, "samples": [2, 2], "stride": 16.0, "dtype": 10},
    ),
    "PsAssemble": ({"maps": MAPS, "boxes": BOXES.astype(np.float32)}, {"bins": 3, "size": 9, "stride": 8.0}),
    "SeHead": (
        {name: np.zeros(shape, np.float32) for name, shape in zip(
            ("foreground", "original", "squeeze", "excite", "fc"),
            ((2, 4, 2, 1), (2, 4, 2, 1), (3, 8), (8, 3), (6, 8)), strict=True,
        )},
        {},
    ),
}  # fmt: skip
"""One case an operator, inputs and attributes."""


@pytest.fixture(scope="module")
def play(tensorrt_headers, tmp_path_factory):
    """JetPack 6's TensorRT, the oldest that is supported."""
    return played(tensorrt_headers / "10.3" / "include", tmp_path_factory.mktemp("played"), TARGETS)


def by_python(operator, inputs, attributes, output):
    """The launches of the chain's kernel for the same tensors, and its scratch bytes."""
    step = OperatorStep(
        operator=operator, node="/n", inputs=tuple(inputs), outputs=("out",),
        attributes={k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()},
    )  # fmt: skip
    kernel = kernel_of(step)
    operands = [Operand(place(i), array.dtype.name, array.shape) for i, array in enumerate(inputs.values())]
    out = Operand(place(len(operands)), output["dtype"], tuple(output["shape"]))
    scratch = kernel.scratch_bytes(operands)
    return kernel.launches(operands, [out], SCRATCH if scratch else Pointer(0)), scratch


def every_kernel():
    """The lines that tell of every kernel."""
    told = []
    for operator, (inputs, attributes) in GOOD.items():
        likes = [{**attributes, "dtype": dtype} for dtype in (1, 10)] if operator == "AlignRois" else [attributes]
        for like in likes:
            for dtype in ("float32", "float16"):
                first = {k: a.astype(dtype) if a.ndim == 4 else a for k, a in inputs.items()}
                told += kernels(by_python(operator, first, like, {"dtype": "float32", "shape": [1]})[0])
    return sorted(set(told))


def test_every_operator_has_its_cases():
    assert set(CASES) == set(GOOD) == set(KERNELS) == set(OPERATORS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_plugin_launches_what_a_chain_does(play, operator):
    cases = CASES[operator]
    told = [line for case in cases for line in case_lines(operator, case)]
    answers = play.answers([*every_kernel(), *told])
    assert len(answers) == len(cases) > 5
    for case, answer in zip(cases, answers, strict=True):
        launches, scratch = by_python(operator, case.inputs, case.attributes, answer)
        assert answer["launches"] == [as_told(launch) for launch in launches], case.name
        assert answer["workspace"] == (scratch + 256 if scratch else 0)
        assert answer["image"] == f"sm_87 {launches[0].source}" == f"sm_87 {KERNELS[operator]}"


def output_of(operator, case):
    """Shape and type, as engines/operators/README.md has them."""
    arrays, attributes = list(case.inputs.values()), case.attributes
    first, last = arrays[0].shape, arrays[-1].shape
    if operator == "Nms":
        return first[:2], "float32"
    if operator == "SeHead":
        return (first[0], last[0]), "float32"
    channels = first[1] // attributes.get("bins", 1) ** 2
    dtype = {1: "float32", 10: "float16"}[attributes.get("dtype", 1)]
    return (last[0] * last[1], channels, attributes["size"], attributes["size"]), dtype


@pytest.mark.parametrize("operator", OPERATORS)
def test_outputs_have_the_type_and_shape_of_the_onnx_function(play, operator):
    cases = CASES[operator]
    answers = play.answers([*every_kernel(), *(line for case in cases for line in case_lines(operator, case))])
    for case, answer in zip(cases, answers, strict=True):
        assert (tuple(answer["shape"]), answer["dtype"]) == output_of(operator, case), case.name


@pytest.mark.parametrize(
    ("operator", "takes"),
    [
        ("Nms", [["float32"], ["float32"]]),
        ("AlignRois", [["float16", "float32"], ["float32"], ["float16"]]),
        ("PsAssemble", [["float16", "float32"], ["float32"], ["float32"]]),
        ("SeHead", [["float16", "float32"], ["float32"], ["float32"], ["float32"], ["float32"], ["float32"]]),
    ],
)
def test_the_types_it_takes(play, operator, takes):
    """Position by position, the others being the case's; only linear ones, which the program asserts."""
    inputs, attributes = GOOD[operator]
    [answer] = play.answers([*every_kernel(), *lines(operator, inputs, attributes)])
    assert answer["takes"] == takes


def test_attributes_may_come_as_wider_numbers(play):
    """ONNX's own have 64 bits, and parsers pass them in 32."""
    for operator, (inputs, attributes) in GOOD.items():
        narrow, wide = play.answers(
            [*every_kernel(), *(line for w in (False, True) for line in lines(operator, inputs, attributes, w))]
        )
        assert narrow == wide


def changed(operator, **changes):
    """The lines of an operator's good case with other attributes, or inputs of other shapes."""
    inputs, attributes = GOOD[operator]
    given = {k: np.zeros(changes[k], a.dtype) if k in changes else a for k, a in inputs.items()}
    others = {k: changes.get(k, v) for k, v in attributes.items()}
    return lines(operator, given, {k: v for k, v in others.items() if v is not None})


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (changed("Nms", threshold=1.5), "Nms: the threshold 1.5 is no IoU"),
        (changed("Nms", threshold=None), "attribute threshold is missing"),
        (changed("Nms", threshold=[0.5, 0.5]), "attribute threshold has 2 numbers instead of 1"),
        (changed("Nms", threshold=1), "attribute threshold is of another type than float"),
        (changed("Nms", boxes=(1, 9, 5)), "Nms: a box has 5 numbers"),
        (changed("Nms", boxes=(9, 4)), "Nms: boxes has 2 axes instead of 3"),
        (changed("Nms", boxes=(1, 0, 4)), "Nms: axis 1 of boxes has the size 0"),
        (changed("Nms", boxes=(1, 8193, 4)), "Nms: 8193 boxes of a picture, but the kernel holds at most 8192"),
        (changed("AlignRois", size=2.0), "attribute size is of another type than int"),
        (changed("AlignRois", samples=[2, 3]), "AlignRois: samples are 2 and 3"),
        (changed("AlignRois", samples=[4, 4], size=40), "AlignRois: size x samples is 160 instead of 1 to 128"),
        (changed("AlignRois", size=0), "AlignRois: size is 0"),
        (changed("AlignRois", samples=[5, 5]), "AlignRois: size is 7 and samples 5 instead of .* 1 to 4"),
        (changed("AlignRois", features=(1, 1, 16384, 16385)), "16384 x 16385, but the kernel takes at most 268435456"),
        (changed("AlignRois", dtype=7), "AlignRois: dtype is 7"),
        (changed("AlignRois", stride=0.0), "AlignRois: stride is 0"),
        (changed("AlignRois", boxes=(2, 5, 4)), "AlignRois: features of 1 pictures, but boxes of 2"),
        (changed("PsAssemble", bins=2), "PsAssemble: size 9 is no multiple of 2 bins"),
        (changed("PsAssemble", bins=0), "PsAssemble: size 9 is no multiple of 0 bins"),
        (changed("PsAssemble", size=129), "PsAssemble: size is 129 instead of 1 to 128"),
        (changed("PsAssemble", maps=(1, 17, 6, 6)), "PsAssemble: 17 maps are no multiple of 3 x 3 bins"),
        (changed("SeHead", original=(2, 4, 2, 2)), "SeHead: the two maps have the sizes 1 and 2 on axis 3"),
        (changed("SeHead", excite=(8, 4)), r"SeHead: excite is \[8, 4\] instead of \[8, 3\]"),
        (changed("SeHead", fc=(6, 7)), r"SeHead: fc is \[6, 7\] instead of \[6, 8\]"),
        (["skew 8", *changed("Nms")], "Nms: input 0 lies at no multiple of 16 bytes"),
        (["gpu 70", *changed("Nms")], "no kernels for this GPU. Build them for it: .* --targets sm_70"),
    ],
)
def test_what_it_cannot_do_it_refuses_and_says_so(play, told, says):
    [answer] = play.answers([*every_kernel(), *told])
    assert re.search(says, answer["refused"])


@pytest.mark.parametrize(
    ("gpu", "image"),
    [
        (75, "sm_75"),
        (80, "sm_80"),
        (86, "sm_80"),
        (87, "sm_87"),
        (89, "sm_80"),
        (90, "sm_90"),
        (100, "compute_90"),
        (121, "compute_90"),
    ],
)
def test_the_kernels_of_the_gpu_that_is_there(play, gpu, image):
    """Orin's machine code runs on nothing else; what is newer than all gets the assembly of the newest."""
    [answer] = play.answers([*every_kernel(), f"gpu {gpu}", *lines("Nms", *GOOD["Nms"])])
    assert answer["image"] == f"{image} nms.cu"


def test_a_kernel_that_the_driver_does_not_find_is_told(play):
    [answer] = play.answers([*(k for k in every_kernel() if "nms_keep" not in k), *lines("Nms", *GOOD["Nms"])])
    assert answer["refused"].startswith("Finding the kernel nms_keep failed: the fake driver says no")
