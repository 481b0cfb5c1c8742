"""Whether every version of TensorRT's Python bindings has what the code asks of them.

What is asked is collected from the code (`tensorrt_uses.py`); the bindings are the real ones.
"""

import os
import shutil
import sys

import pytest

from mgts_trt.plans.builder.semantics import RULES
from mgts_trt.plans.installed import find_flavour
from tests.helpers import real_bindings
from tests.helpers.fetched import fetch
from tests.helpers.tensorrt_uses import Use, all_uses, failures, is_for, settings, uses

RTX = find_flavour("tensorrt_rtx")


def test_the_collection_sees_what_the_code_does():
    found = {(use.kind, use.name) for use in uses()}
    assert len(found) > 80
    assert {
        ("", "ILogger.Severity.INTERNAL_ERROR"),
        ("", "OnnxParser"),
        ("Builder", "create_network"),
        ("IBuilderConfig", "set_memory_pool_limit"),
        ("ICudaEngine", "get_tensor_mode"),
        ("IExecutionContext", "execute_async_v3"),
        ("IOptimizationProfile", "set_shape"),
        ("ParserError", "node_operator"),
        ("Runtime", "deserialize_cuda_engine"),
    } <= found
    [enqueue] = [use for use in uses() if use.name == "execute_async_v3"]
    assert enqueue.positional == 1
    for op, rule in RULES.items():
        assert settings(rule.wanted)[0], op


@pytest.mark.skipif(RTX is None or RTX.name != "tensorrt_rtx", reason="TensorRT-RTX is not installed")
def test_tensorrt_rtx_has_it_all():
    assert failures(RTX.module, [use for use in all_uses() if is_for(use, "tensorrt_rtx")]) == []
    members = {name for kind in vars(RTX.module).values() for name in getattr(kind, "__members__", ())}
    for op, rule in RULES.items():
        assert settings(rule.wanted)[1] <= members, op


@pytest.mark.skipif(RTX is None or RTX.name != "tensorrt_rtx", reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (Use("Builder", "create_netwrok", 1, (), False, "f:1"), "f:1: Builder.create_netwrok is not there"),
        (Use("", "BuilderFlag.TF33", -1, (), False, "f:1"), "f:1: BuilderFlag.TF33 is not there"),
        (Use("IExecutionContext", "execute_async_v3", 2, (), False, "f:1"), "takes no 2 arguments"),
        (Use("IExecutionContext", "execute_async_v3", 0, ("steam",), False, "f:1"), "takes no 0 arguments"),
        (Use("ICudaEngine", "num_io_tensors", -1, (), True, "f:1"), "ICudaEngine.num_io_tensors cannot be set"),
    ],
)
def test_what_is_not_there_is_found(use, message):
    [said] = failures(RTX.module, [use])
    assert message in said


@pytest.fixture(params=real_bindings.VERSIONS)
def version(request):
    if os.environ.get("CI") and sys.version_info[:2] == (3, 11):  # not each version has wheels for every Python
        fetch(real_bindings.requirement(request.param))
    if not real_bindings.folder(request.param).is_dir():
        pytest.skip(f"the bindings of TensorRT {request.param} are not here; `make bindings` fetches them")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler for the stub library")
    return request.param


SCRIPT = """
import threading
import tensorrt_bindings as trt
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import ErrorLog, monitor_class, process_logger
from mgts_trt.plans.builder.semantics import RULES
from tests.helpers.tensorrt_uses import Use, all_uses, failures, is_for, settings

assert trt.__version__.startswith(VERSION), trt.__version__
said = failures(trt, [use for use in all_uses() if is_for(use, "tensorrt")])
wrong = [("Builder", "create_netwrok", 1), ("Runtime", "deserialize_cuda_engine", 2)]
assert len(failures(trt, [Use(*each, (), False, "") for each in wrong])) == 2, "nothing is ever found"
members = {name for kind in vars(trt).values() for name in getattr(kind, "__members__", ())}
said += [f"no member {name}" for rule in RULES.values() for name in settings(rule.wanted)[1] - members]

flavour = Flavour("tensorrt", trt.__version__, trt)
with flavour.collect() as messages:
    process_logger(trt).log(trt.ILogger.Severity.WARNING, " words ")
assert [tuple(message) for message in messages] == [("warning", "words")]
log = ErrorLog(trt)
code = trt.ErrorCodeTRT.INTERNAL_ERROR
with log.gather() as mine:
    log.recorder.report_error(code, "mine")
    assert (log.recorder.num_errors(), log.recorder.get_error_desc(0)) == (1, "mine")
    assert log.recorder.get_error_code(0) == code
assert mine == [(code, "mine")]
seen = []
monitor = monitor_class(trt)(lambda phase, fraction: seen.append(fraction), lambda: False)
monitor.phase_start("all", None, 2)
assert monitor.step_complete("all", 0)
monitor.phase_finish("all")
assert seen == [0.0, 0.5, 1.0]
assert flavour.dtype(trt.DataType.UINT8) == "uint8"
assert flavour.targets == ("current",)
assert not flavour.has_runtime_cache()
assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) >= 0
print("\\n".join(said))
"""


def test_each_version_has_what_the_code_asks_for(version, tmp_path):
    stub = real_bindings.make_stub(version, tmp_path)
    done = real_bindings.run(version, stub, f"VERSION = {version!r}\n{SCRIPT}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
