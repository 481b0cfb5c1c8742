from pathlib import Path

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import MgtsError
from mgts_trt.triton.repository import Served, write_repository
from tests.helpers.tiny_bundle import JOINT_EMBEDDING, make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    models = ("detector", "masknet", "mgts", "joint")
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle"), models=models))


def test_what_is_written(bundle: Bundle, tmp_path: Path) -> None:
    served = Served(bundle, "net", gpus=(0, 1), instances=2, batch=4, queue=9, at="/srv/bündel", threads=3)
    assert write_repository(served, tmp_path / "models") == ["person_search", "embed"]
    files = {path.relative_to(tmp_path / "models").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{name}/{file}" for name in ("person_search", "embed") for file in ("config.pbtxt", "1/model.py")}
    config = (tmp_path / "models/person_search/config.pbtxt").read_text(encoding="utf-8")
    for line in (
        'name: "person_search"',
        "max_batch_size: 4",
        '{ name: "image" data_type: TYPE_UINT8 dims: [-1, -1, 3] optional: true allow_ragged_batch: true }',
        '{ name: "embeddings" data_type: TYPE_FP32 dims: [-1, 128] }',
        "count: 2 kind: KIND_GPU gpus: [0, 1] rate_limiter",
        "max_queue_size: 9 ",
        'key: "bundle" value { string_value: "/srv/bündel" }',
        'key: "threads" value { string_value: "3" }',
        'inputs { key: "image" value { data_type: TYPE_UINT8 dims: [64, 96, 3] zero_data: true } }',
    ):
        assert line in config
    code = (tmp_path / "models/embed/1/model.py").read_text(encoding="utf-8")
    compile(code, "model.py", "exec")
    assert "from mgts_trt.triton.served_model import ServedModel" in code


def test_a_mode_without_masks_has_none(bundle: Bundle, tmp_path: Path) -> None:
    write_repository(Served(bundle, "joint"), tmp_path, ["person_search"])
    config = (tmp_path / "person_search/config.pbtxt").read_text(encoding="utf-8")
    assert f"dims: [-1, {JOINT_EMBEDDING}]" in config
    assert "mask" not in config
    assert "kind: KIND_AUTO" in config
    assert not (tmp_path / "embed").exists()


def test_what_is_there_stays(bundle: Bundle, tmp_path: Path) -> None:
    write_repository(Served(bundle, "box", batch=2), tmp_path)
    with pytest.raises(MgtsError, match="Replace it with --force"):
        write_repository(Served(bundle, "box"), tmp_path)
    assert "max_batch_size: 2" in (tmp_path / "person_search/config.pbtxt").read_text(encoding="utf-8")
    write_repository(Served(bundle, "box"), tmp_path, force=True)
    assert "max_batch_size: 0" in (tmp_path / "person_search/config.pbtxt").read_text(encoding="utf-8")
    (tmp_path / "embed/config.pbtxt").write_text("# somebody's own")
    with pytest.raises(MgtsError, match="not from mgts-trt"):
        write_repository(Served(bundle, "box"), tmp_path, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embed", "person_search"]


def test_what_cannot_be_written(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MgtsError, match=r"no idnet.*mode none"):
        write_repository(Served(bundle, "none"), tmp_path)
    with pytest.raises(MgtsError, match="in fp16"):
        write_repository(Served(bundle, "box", precision="fp16"), tmp_path)
    with pytest.raises(MgtsError, match="no model search"):
        write_repository(Served(bundle, "box"), tmp_path, ["search"])
    (tmp_path / "file").touch()
    with pytest.raises(MgtsError, match="is a file"):
        write_repository(Served(bundle, "box"), tmp_path / "file")
