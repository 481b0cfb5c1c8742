from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the extra check")

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import MgtsError, PlanError
from mgts_trt.triton.plan_models import plan_config
from mgts_trt.triton.repository import Served, write_repository
from tests.helpers.plan_files import PLAN, identity, put, record
from tests.helpers.tiny_bundle import make_tiny_bundle

ORDINARY = {"flavour": "tensorrt", "flavour_version": "10.13.3.9", "target": "sm_87", "lowering": "plugin"}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path / "bundle"))


def test_a_network_is_one_plan_and_its_people_are_the_batch(bundle: Bundle, tmp_path: Path) -> None:
    folder = put(bundle.plans, identity(**ORDINARY))
    out = tmp_path / "models"
    served = Served(bundle, "net", gpus=(0,), instances=2, queue=9)
    assert write_repository(served, out, [], [f"bundle/plans/{folder.name}"]) == ["mgts"]
    assert (out / "mgts/1/model.plan").read_bytes() == PLAN
    config = text_format.Parse((out / "mgts/config.pbtxt").read_text(), ModelConfig())
    assert (config.name, config.platform, config.backend, config.max_batch_size) == ("mgts", "tensorrt_plan", "", 64)
    assert [(each.name, list(each.dims)) for each in config.input] == [("original", [3, 32, 16])]
    assert [(each.name, list(each.dims)) for each in config.output] == [("embedding", [128])]
    (group,) = config.instance_group
    assert (group.count, list(group.gpus), group.Kind.Name(group.kind)) == (2, [0], "KIND_GPU")
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert write_repository(served, out, ["embed"], [folder.name], force=True) == ["embed", "mgts"]


def test_tensors_that_are_not_of_one_batch_keep_their_shapes() -> None:
    one = record(identity(**ORDINARY))
    tensors = {"image": TensorSpec(dtype="uint8", shape=(1, 64, 96, 3)), "n": TensorSpec(dtype="int64", shape=())}
    config = plan_config(one.model_copy(update={"inputs": tensors}))
    parsed = text_format.Parse(config.text(), ModelConfig())
    assert parsed.max_batch_size == 0
    assert [list(each.dims) for each in parsed.input] == [[1, 64, 96, 3], []]
    assert [list(each.dims) for each in parsed.output] == [[-1, 128]]
    assert parsed.instance_group[0].kind == parsed.instance_group[0].KIND_GPU


def test_what_triton_cannot_run_is_told(bundle: Bundle, tmp_path: Path) -> None:
    chain = put(bundle.plans, identity(**{**ORDINARY, "lowering": "kernel"})).name
    other = put(bundle.plans, identity()).name
    two = [put(bundle.plans, identity(**ORDINARY, precision=each)).name for each in ("fp32", "fp16")]
    served = Served(bundle, "net")
    for plans, sentence in (
        ([chain], r"chain of 2 engines .*\(SeHead\), which are no models .*--ops plugin"),
        ([other], "is a plan of TensorRT-RTX"),
        (two, "are of one network; name one"),
    ):
        with pytest.raises(MgtsError, match=sentence):
            write_repository(served, tmp_path / "models", [], plans)
    with pytest.raises(PlanError, match=f"no plan nowhere in .*{other}"):
        write_repository(served, tmp_path / "models", [], ["nowhere"])
    (bundle.plans / two[0] / "mgts.plan").write_bytes(PLAN[::-1])
    with pytest.raises(PlanError, match="altered"):
        write_repository(served, tmp_path / "models", [], two[:1])
    with pytest.raises(MgtsError, match=r"cannot be joined by an ensemble.*kernels on the GPU"):
        write_repository(served, tmp_path / "models", ["ensemble"])
    assert not (tmp_path / "models").exists()
