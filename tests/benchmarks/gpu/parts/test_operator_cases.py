"""Every launch of an operator that the kernel part times runs, here on the CPU, at the sizes of the networks."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu.parts.kernel_cases import Case
from benchmarks.gpu.parts.operator_cases import operator_cases
from mgts_trt.bundle.operators import DOMAIN, OPERATORS, VERSION, add_functions
from mgts_trt.runtime.cuda.launch import Pointer
from tests.helpers import host_kernels
from tests.helpers.machines import Host

PEOPLE = 3


def bundle_of(folder: Path, models: Mapping[str, Any]) -> Any:
    """What `operator_cases` asks of a bundle."""
    import onnx

    for name, model in models.items():
        onnx.save(model, folder / f"{name}.fp32.onnx")
    manifest = SimpleNamespace(models={name: SimpleNamespace(files={"fp32": ""}) for name in models})
    return SimpleNamespace(manifest=manifest, model_path=lambda name, precision: folder / f"{name}.{precision}.onnx")


def model_of(nodes: list[Any], inputs: Mapping[str, list[Any]], outputs: list[str], **weights: np.ndarray) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_functions(model)
    return model


@pytest.fixture
def detector() -> Any:
    from onnx import helper

    def node(operator: str, reads: str, writes: str, **attributes: object) -> Any:
        return helper.make_node(operator, reads.split(), [writes], domain=DOMAIN, name=f"/{writes}", **attributes)

    nodes = [
        node("Nms", "boxes", "keep", threshold=0.5),
        node("AlignRois", "maps boxes", "regions", size=7, samples=[2, 2], stride=16.0, dtype=1),
        node("PsAssemble", "maps boxes", "masks", bins=2, size=4, stride=16.0),
    ]
    return model_of(nodes, {"maps": [1, 8, 5, 6], "boxes": [1, 70, 4]}, ["keep", "regions", "masks"])


@pytest.fixture
def mgts() -> Any:
    from onnx import helper

    nodes = [helper.make_node("SeHead", ["f", "o", "a", "b", "c"], ["embedding"], domain=DOMAIN, name="/head")]
    weights = {name: np.ones(shape, np.float32) for name, shape in (("a", (2, 8)), ("b", (8, 2)), ("c", (5, 8)))}
    return model_of(nodes, {"f": ["N", 4, 3, 2], "o": ["N", 4, 3, 2]}, ["embedding"], **weights)


def written(case: Case, host: Host) -> np.ndarray:
    """What the last launch of a case wrote: its last pointer."""
    last = [argument for argument in case.launches[-1].arguments if isinstance(argument, Pointer)][-1]
    return host.get(last)


def test_the_kernels_run_at_the_sizes_of_the_networks(tmp_path: Path, detector: Any, mgts: Any) -> None:
    host = Host()
    cases = list(operator_cases(bundle_of(tmp_path, {"detector": detector, "mgts": mgts}), PEOPLE, host.put))
    assert {case.kernel for case in cases} == set(OPERATORS)
    shapes = {"Nms": (1, 70), "AlignRois": (70, 8, 7, 7), "PsAssemble": (70, 2, 4, 4), "SeHead": (PEOPLE, 5)}
    boxes, maps, weights = 70 * 4, 8 * 5 * 6, 16 + 16 + 40
    numbers = {
        "Nms": boxes + 70,
        "AlignRois": maps + boxes + 70 * 8 * 49,
        "PsAssemble": maps + boxes + 70 * 2 * 16,
        "SeHead": 2 * PEOPLE * 24 + weights + PEOPLE * 5,
    }
    for case in cases:
        host_kernels.run(*case.launches)
        out = written(case, host)
        assert out.shape == shapes[case.kernel]
        assert np.isfinite(out).all()
        assert out.any()
        assert case.bytes == 4 * numbers[case.kernel]


def test_equal_operators_are_timed_once(tmp_path: Path, detector: Any) -> None:
    bundle = bundle_of(tmp_path, {"detector": detector, "masknet": detector})
    assert sorted(case.kernel for case in operator_cases(bundle, 1, Host().put)) == ["AlignRois", "Nms", "PsAssemble"]


def test_boxes_lie_on_the_map(tmp_path: Path, detector: Any) -> None:
    host = Host()
    cases = operator_cases(bundle_of(tmp_path, {"detector": detector}), 1, host.put)
    (case,) = (each for each in cases if each.kernel == "AlignRois")
    boxes = host.get(case.launches[0].arguments[1])
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert ((middles >= 0) & (middles <= (6 * 16, 5 * 16))).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert case.work == "float32 [1, 8, 5, 6], float32 [1, 70, 4]"
