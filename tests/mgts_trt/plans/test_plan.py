import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BundleError, PlanError
from mgts_trt.machine.data_files import json_sha256
from mgts_trt.plans.chain import CONSTANTS
from mgts_trt.plans.plan import (
    CHECKSUM,
    RECORD,
    PlanIdentity,
    PlanRecord,
    find_plan,
    plan_folders,
    this_platform,
    verify_plan,
)
from tests.helpers.plan_files import PLAN, cut_chain, identity, put, record
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", models=("idnet", "mgts"))


@pytest.fixture
def bundle(tiny, tmp_path):
    return Bundle(tmp_path / "bundle", Bundle.open(tiny).manifest)


def test_folder_is_readable_and_names_its_digest():
    one, cut, four = identity(), identity(lowering="kernel"), identity(lowering="kernel", batch=4)
    assert one.folder == f"mgts.fp32.portable.{one.digest[:12]}"
    assert cut.folder == f"mgts.fp32.portable.kernel.{cut.digest[:12]}"
    assert four.folder == f"mgts.fp32.portable.kernel.batch4.{four.digest[:12]}"


CHANGES = [
    ({"model": "idnet"}, "it is a plan of idnet, not of mgts"),
    ({"precision": "fp16"}, "its precision is fp16, not fp32"),
    ({"flavour": "tensorrt"}, "it was built by TensorRT 1.7.1.116, this is TensorRT-RTX 1.7.1.116"),
    ({"flavour_version": "1.6.0"}, "it was built by TensorRT-RTX 1.6.0, this is TensorRT-RTX 1.7.1.116"),
    ({"target": "sm_86"}, "it was built for sm_86, not for portable"),
    ({"platform": "linux-aarch64"}, "it was built on linux-aarch64, this is linux-x86_64"),
    (
        {"onnx_sha256": "c" * 64},
        "it was built from another ONNX file (SHA-256 cccccccccccc…, the bundle's is aaaaaaaaaaaa…)",
    ),
    ({"recipe_sha256": "c" * 64}, "the recipe of mgts has changed since"),
    ({"lowering": "kernel"}, "its operators are kernels between its engines, not layers of its graph"),
    ({"operators": 2}, "its operators are of version 2, not 1"),
    ({"batch": 4}, "it takes 4 pictures at once, not 1 picture"),
    ({"settings": {"tf32": False, "workspace_mib": 2048}}, "it was built with tf32 = false, now it is true"),
    ({"settings": {"tf32": True}}, "it was built with workspace_mib = unset, now it is 2048"),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES)
def test_each_field_changes_the_digest_and_has_its_sentence(change, sentence):
    other, expected = identity(**change), identity()
    assert other.differences(expected) == [sentence]
    assert other.digest != expected.digest


def test_every_field_of_the_identity_is_tested():
    tested = {field for change, _ in CHANGES for field in change}
    assert tested == set(PlanIdentity.model_fields)


def test_equal_identities():
    assert identity().differences(identity()) == []
    assert identity().digest == identity(settings={"workspace_mib": 2048, "tf32": True}).digest


def test_record_comes_back_as_it_was_written(tmp_path):
    record(identity()).write(tmp_path)
    assert PlanRecord.read(tmp_path) == record(identity())
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_whole_plan(tmp_path):
    folder = put(tmp_path / "plans", identity())
    assert verify_plan(folder, identity()) == record(identity())


def test_identity_is_compared_before_the_bytes(tmp_path):
    folder = put(tmp_path / "plans", identity(flavour_version="1.6.0"))
    (folder / "mgts.plan").unlink()
    with pytest.raises(PlanError, match=r"built by TensorRT-RTX 1\.6\.0, this is TensorRT-RTX 1\.7.*mgts-trt build"):
        verify_plan(folder, identity())


@pytest.mark.parametrize("position", [0, 7, len(PLAN) - 1])
def test_one_flipped_byte_in_the_plan(tmp_path, position):
    folder = put(tmp_path / "plans", identity())
    data = bytearray(PLAN)
    data[position] ^= 1
    (folder / "mgts.plan").write_bytes(data)
    with pytest.raises(
        PlanError, match=rf"mgts\.plan is altered.*`mgts-trt build {tmp_path} --model mgts --ops graph`"
    ):
        verify_plan(folder, identity())


@pytest.mark.parametrize("file", ["mgts.0.plan", "mgts.1.plan", CONSTANTS])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[::-1])])
def test_every_file_of_a_chain_is_verified_and_named(tmp_path, file, spoil):
    folder = put(tmp_path / "plans", identity(lowering="kernel"))
    record = verify_plan(folder, identity(lowering="kernel"))
    assert (record.plan_bytes, record.macs) == (2 * len(PLAN), {"fp16": 995, "fp32": 5})
    spoil(folder / file)
    with pytest.raises(
        PlanError, match=rf"/{file} is (missing|altered).*`mgts-trt build .* --model mgts --ops kernel`"
    ):
        verify_plan(folder)


@pytest.mark.parametrize("lowering", ["graph", "plugin"])
def test_a_plan_of_one_engine_has_no_more(tmp_path, lowering):
    with pytest.raises(ValidationError, match="is one engine"):
        record(identity(lowering=lowering), cut_chain(identity(), tmp_path))


def test_truncated_plan(tmp_path):
    folder = put(tmp_path / "plans", identity())
    (folder / "mgts.plan").write_bytes(PLAN[:-1])
    with pytest.raises(PlanError, match=r"has 18 bytes, its plan\.json says 19"):
        verify_plan(folder, identity())


def test_missing_plan(tmp_path):
    folder = put(tmp_path / "plans", identity())
    (folder / "mgts.plan").unlink()
    with pytest.raises(PlanError, match=r"mgts\.plan is missing"):
        verify_plan(folder, identity())


def test_no_character_of_the_sidecar_can_change_unnoticed(tmp_path):
    folder = put(tmp_path / "plans", identity())
    text = (folder / RECORD).read_text()
    for position in range(0, len(text), 7):
        if text[position].isspace():
            continue
        (folder / RECORD).write_text(text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :])
        with pytest.raises(PlanError, match=r"plan\.json"):
            verify_plan(folder, identity())


def rewritten(data, **changes):
    data = {key: value for key, value in {**data, **changes}.items() if key != CHECKSUM}
    return json.dumps({**data, CHECKSUM: json_sha256(data)})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"has no plan\.json"),
        (lambda path: path.write_text(path.read_text()[:100]), "truncated or altered"),
        (lambda path: path.write_text(""), "truncated or altered"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "truncated or altered"),
        (lambda path: path.write_text("[]"), "checksum does not match"),
        (lambda path: path.write_text(rewritten(json.loads(path.read_text()), format=6)), "reads up to 5.*upgrade"),
        (lambda path: path.write_text(rewritten(json.loads(path.read_text()), format=3)), "format 3, this.*Build it"),
        (lambda path: path.write_text(rewritten(json.loads(path.read_text()), extra=1)), "at extra"),
        (lambda path: path.write_text(rewritten(json.loads(path.read_text()), chain=None)), "at chain"),
        (lambda path: path.write_text(rewritten(json.loads(path.read_text()), layers={"a": -1})), "at layers"),
    ],
)
def test_unusable_sidecars(tmp_path, spoil, message):
    folder = put(tmp_path / "plans", identity())
    spoil(folder / RECORD)
    with pytest.raises(PlanError, match=f"(?i){message}"):
        verify_plan(folder, identity())


def test_a_plan_is_found_by_its_identity(bundle):
    put(bundle.plans, identity(target="sm_86"))
    folder = put(bundle.plans, identity())
    found = find_plan(bundle, identity())
    assert found.files == (folder / "mgts.plan",)
    assert found.record == record(identity())


def test_no_plan_at_all(bundle):
    put(bundle.plans, identity(model="idnet"))
    with pytest.raises(
        PlanError, match=r"has no plan of mgts in fp32 for portable\. Build it with `mgts-trt build .* --ops graph`"
    ):
        find_plan(bundle, identity())


def test_the_nearest_plan_is_named_with_what_differs(bundle):
    put(bundle.plans, identity(flavour_version="1.5", target="sm_86", onnx_sha256="d" * 64))
    near = put(bundle.plans, identity(flavour_version="1.6.0"))
    broken = put(bundle.plans, identity(flavour_version="1.6.1"))
    (broken / RECORD).unlink()
    with pytest.raises(PlanError, match=rf"It has {near.name}, but it was built by TensorRT-RTX 1\.6\.0, this is"):
        find_plan(bundle, identity())


def test_a_found_plan_is_verified(bundle):
    folder = put(bundle.plans, identity())
    (folder / "mgts.plan").write_bytes(PLAN[::-1])
    with pytest.raises(PlanError, match="altered"):
        find_plan(bundle, identity())


def test_a_plan_of_another_lowering_is_not_taken(bundle):
    near = put(bundle.plans, identity())
    message = (
        rf"with its operators as kernels .* has {near.name}, but its operators are layers of its graph, not kernels"
    )
    with pytest.raises(PlanError, match=rf"{message}.*`mgts-trt build .* --model mgts --ops kernel`"):
        find_plan(bundle, identity(lowering="kernel"))


def test_unfinished_builds_and_loose_files_are_no_plans(bundle):
    assert plan_folders(bundle) == []
    folder = put(bundle.plans, identity())
    (bundle.plans / ".building-host-1-ab").mkdir()
    (bundle.plans / "x.failed.log").touch()
    assert plan_folders(bundle) == [folder]


class _Flavour:
    name, version = "tensorrt_rtx", "1.7.1.116"

    def settings(self, builder):
        return builder.model_dump()


def test_identity_of_a_bundle(tiny):
    opened = Bundle.open(tiny)
    one = PlanIdentity.of(opened, "mgts", "fp32", "sm_86", _Flavour())
    assert one.onnx_sha256 == opened.model("mgts").files["fp32"].sha256
    assert one.platform == this_platform()
    assert one.settings["workspace_mib"] == 2048
    # The tiny networks call no operators: they have one plan, whatever is asked for.
    assert PlanIdentity.of(opened, "mgts", "fp32", "sm_86", _Flavour(), "kernel") == one
    with pytest.raises(BundleError, match="not in int8"):
        PlanIdentity.of(opened, "mgts", "int8", "sm_86", _Flavour())
