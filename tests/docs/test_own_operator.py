"""The operator of docs/operators.md, as the page has it, in all of its forms."""

import re
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="functions are parsed by the package onnx")

from mgts_trt.bundle import operators
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda import nvrtc
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand
from tests.helpers import host_kernels
from tests.helpers.machines import Host
from tests.helpers.operators.case import Case
from tests.helpers.operators.forms import through_function, through_kernel
from tests.helpers.paths import ROOT


def blocks() -> dict[str, str]:
    """File → what the page says is in it."""
    page = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


def module(path: str, text: str) -> Any:
    made = types.ModuleType(Path(path).stem)
    exec(compile(text, path, "exec"), made.__dict__)
    return made


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The page's files in a copy of `engines/`, and its modules."""
    folder = tmp_path / "engines"
    shutil.copytree(engines_folder(), folder)
    found = {}
    for path, text in blocks().items():
        if path.startswith("engines/"):
            (tmp_path / path).write_text(text, encoding="utf-8")
        else:
            found[path] = module(path, text)
    for user in (operators, host_kernels):
        monkeypatch.setattr(user, "engines_folder", lambda: folder)
    monkeypatch.setattr(operators, "OPERATORS", (*operators.OPERATORS, "Unit"))
    host_kernels._library.cache_clear()
    yield found
    host_kernels._library.cache_clear()
    operators.function.cache_clear()


def test_the_page_has_every_piece() -> None:
    assert list(blocks()) == [
        "engines/operators/Unit.txt",
        "mgts_trt/stages/unit.py",
        "engines/kernels/unit.cu",
        "mgts_trt/runtime/operators/unit.py",
        "tests/helpers/operators/unit.py",
    ]


def test_its_forms_pass_its_cases(page: dict[str, Any]) -> None:
    reference = page["mgts_trt/stages/unit.py"].unit
    kernel = page["mgts_trt/runtime/operators/unit.py"].Unit
    cases: list[Case] = page["tests/helpers/operators/unit.py"].CASES
    assert len(cases) > 3
    for case in cases:
        want = reference(*case.inputs.values(), **case.attributes)
        for found in (
            through_function("Unit", case, [want])[0],
            through_kernel(kernel(**case.attributes), case, [want], Host())[0],
        ):
            assert found.dtype == want.dtype
            np.testing.assert_allclose(found, want, rtol=0, atol=case.tolerance, err_msg=case.name)


def test_its_kernel_compiles_for_a_gpu(page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.core", reason="NVRTC is called through cuda.core")
    folder = operators.engines_folder() / "kernels"
    monkeypatch.setattr(nvrtc, "kernel_folder", lambda: folder)
    compiled = nvrtc.compile_source("unit.cu", 87)
    assert compiled.log == ""
    assert b".text.unit" in compiled.cubin


def test_what_it_refuses(page: dict[str, Any]) -> None:
    kernel = page["mgts_trt/runtime/operators/unit.py"].Unit(1e-12)
    with pytest.raises(BackendError, match=r"not float16 \[2, 3\]"):
        kernel.scratch_bytes([Operand(Pointer(0), "float16", (2, 3))])
