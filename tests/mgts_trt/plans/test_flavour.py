import subprocess
import sys
from types import SimpleNamespace

import pytest

from mgts_trt.bundle.recipe import Builder
from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour, require_flavour
from mgts_trt.plans.listeners import Message, process_logger

needs_tensorrt = pytest.mark.skipif(find_flavour() is None, reason="neither TensorRT-RTX nor TensorRT is installed")


def test_plain_tensorrt_builds_for_the_gpu_that_is_there_only():
    plain = Flavour("tensorrt", "10.9.0", SimpleNamespace(BuilderFlag=SimpleNamespace()))
    assert plain.targets == ("current",)
    assert plain.default_target() == "current"
    assert str(plain) == "TensorRT 10.9.0"
    assert plain.settings(Builder())["user_allocation"] is False


@pytest.mark.parametrize(
    ("capability", "target"),
    [((8, 6), "portable"), ((12, 0), "portable"), ((7, 5), "current"), ((12, 1), "current"), ((9, 0), "portable")],
)
def test_the_default_is_what_the_gpu_here_runs_if_it_runs_any(capability, target):
    module = SimpleNamespace(ComputeCapability=SimpleNamespace(SM75=1, SM86=2))
    assert Flavour("tensorrt_rtx", "1.7.1.116", module).default_target([Gpu("G", capability)]) == target


def test_a_builder_that_cannot_be_made():
    def refuse(logger):
        raise TypeError("factory function returned nullptr")

    class Base:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)

    # Hashable, unlike a SimpleNamespace: modules are kept by identity.
    module = type("module", (), {"Builder": staticmethod(refuse), "ILogger": Base})
    Base.__init__ = lambda self: None
    with pytest.raises(BackendError, match=r"TensorRT 10\.9 cannot make a builder here: factory.*needs a working"):
        Flavour("tensorrt", "10.9", module).create_builder()


@needs_tensorrt
class TestInstalled:
    def test_targets(self):
        flavour = require_flavour()
        if flavour.name == "tensorrt_rtx":
            assert flavour.default_target() == "portable"
            assert {"portable", "current", "sm_75", "sm_86", "sm_120"} <= set(flavour.targets)
        else:
            assert flavour.targets == ("current",)

    @pytest.mark.parametrize("tf32", [True, False])
    def test_config_takes_the_settings(self, tf32):
        flavour = require_flavour()
        settings = flavour.settings(Builder(optimization_level=1, workspace_mib=64, tf32=tf32))
        with flavour.collect() as messages:
            config = flavour.create_config(flavour.create_builder(), settings, flavour.default_target())
        flags = flavour.module.BuilderFlag
        assert config.builder_optimization_level == 1
        assert config.get_memory_pool_limit(flavour.module.MemoryPoolType.WORKSPACE) == 64 << 20
        assert config.get_flag(flags.TF32) is tf32
        assert config.get_flag(flags.REQUIRE_USER_ALLOCATION) is settings["user_allocation"]
        assert [m for m in messages if m.level == "error"] == []

    def test_a_named_target_reaches_the_configuration(self):
        flavour = require_flavour()
        if flavour.name != "tensorrt_rtx":
            pytest.skip("plain TensorRT builds for the GPU it runs on")
        with flavour.collect():
            config = flavour.create_config(flavour.create_builder(), flavour.settings(Builder()), "sm_86")
        assert config.num_compute_capabilities == 1
        assert config.get_compute_capability(0) == flavour.module.ComputeCapability.SM86

    def test_a_refused_target_is_an_error(self):
        # CURRENT is what a GPU without a name of its own resolves to; the flavour's answer is taken seriously.
        flavour = require_flavour()
        refusing = SimpleNamespace(
            builder_optimization_level=0,
            set_memory_pool_limit=lambda *a: None,
            set_flag=lambda *a: None,
            clear_flag=lambda *a: None,
            num_compute_capabilities=0,
            set_compute_capability=lambda *a: False,
        )
        builder = SimpleNamespace(create_builder_config=lambda: refusing)
        rtx = Flavour("tensorrt_rtx", flavour.version, _with_capabilities(flavour.module))
        with pytest.raises(BackendError, match="does not accept the target sm_86"):
            rtx.create_config(builder, flavour.settings(Builder()), "sm_86")

    def test_data_types_have_their_numpy_names(self):
        flavour = require_flavour()
        names = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT64": "int64"}
        assert {n: flavour.dtype(getattr(flavour.module.DataType, n)) for n in names} == names

    def test_messages_are_collected_in_the_block_only(self):
        flavour = require_flavour()
        with flavour.collect() as first:
            flavour.module.OnnxParser(
                flavour.create_builder().create_network(0), process_logger(flavour.module)
            ).parse_from_file("nowhere.onnx")
        before = list(first)
        with flavour.collect() as second:
            process_logger(flavour.module).log(flavour.module.ILogger.Severity.ERROR, " late \n")
        process_logger(flavour.module).log(flavour.module.ILogger.Severity.ERROR, "outside")
        assert first == before
        assert second == [Message("error", "late")]


def test_tensorrt_is_imported_only_when_asked_for():
    code = (
        "import sys, mgts_trt.plans.flavour, mgts_trt.plans.plan, mgts_trt.plans.builder.build;"
        "import mgts_trt.cli.findings, mgts_trt.runtime.session.tensorrt;"
        "print([m for m in ('tensorrt', 'tensorrt_rtx', 'torch', 'onnx', 'cuda.core') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _with_capabilities(module):
    return SimpleNamespace(
        ComputeCapability=SimpleNamespace(SM86=86, CURRENT=1),
        BuilderFlag=module.BuilderFlag,
        MemoryPoolType=module.MemoryPoolType,
    )
