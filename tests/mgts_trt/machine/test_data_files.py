import json
import os
from pathlib import Path

import pytest

from mgts_trt.bundle.layout import SIGNATURE
from mgts_trt.bundle.manifest import MANIFEST, read_manifest
from mgts_trt.bundle.recipe import read_recipe
from mgts_trt.bundle.records import ParityRecord, RangesRecord
from mgts_trt.bundle.signature import read_signature
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.labelled import LABELS, LabelledSet
from mgts_trt.machine import data_files
from mgts_trt.machine.data_files import json_sha256, read_json, read_toml
from mgts_trt.plans.plan import RECORD, PlanRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


@pytest.mark.parametrize("data", [None, True, [], {"a": [1, 2.5, "ü"]}, 10**4000])
def test_what_json_holds(path: Path, data) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")
    assert read_json(path) == data


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value in line 1, column 1"),
        (b'{"a": 1', "Expecting ',' delimiter"),
        (b"\xff", "it is not UTF-8"),
        (b'"\\ud800"', "it is not UTF-8"),
        (b'{"\\udfff": 1}', "it is not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "its brackets stand too deep inside each other"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "its brackets stand too deep inside each other"),
        (b"1" * 5000, "it holds a number of thousands of digits"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"-Infinity", "-Infinity is no number of JSON"),
    ],
)
def test_what_is_no_json_is_told_in_a_clause(path: Path, content: bytes, told: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        read_json(path)
    assert told in str(refused.value)


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="a pipe or a device"):
        read_json(path)


@pytest.mark.parametrize(
    ("make", "error"),
    [(lambda path: None, FileNotFoundError), (Path.mkdir, IsADirectoryError), (lambda p: p.symlink_to(p), OSError)],
)
def test_what_is_no_file(path: Path, make, error: type[OSError]) -> None:
    make(path)
    with pytest.raises(error) as refused:
        read_json(path)
    assert refused.value.strerror


def test_a_file_without_end_is_not_read_whole(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(data_files, "LARGEST", 2**20)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_json(path)


def test_a_digest_is_of_what_is_said() -> None:
    assert json_sha256({"a": [1], "b": "ü"}) == json_sha256(json.loads('{ "b": "\\u00fc", "a": [1] }'))
    assert len({json_sha256(data) for data in ([1], [1.0], ["1"], [[1]], [True], [None])}) == 6


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a = ", "Invalid value"),
        (b"a = \xff", "it is not UTF-8"),
        (b"a = " + b"[" * 100_000, "its brackets stand too deep inside each other"),
        (b"a = " + b"1" * 5000, "it holds a number of thousands of digits"),
    ],
)
def test_what_is_no_toml_is_told_in_a_clause(path: Path, content: bytes, told: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_toml(path)
    path.write_text("a = [1]")
    assert read_toml(path) == {"a": [1]}


def read_recipe_in(folder: Path) -> object:
    return read_recipe(folder / "recipe.toml")


def read_parity(folder: Path) -> object:
    return ParityRecord.read(folder / "parity.json")


def read_ranges(folder: Path) -> object:
    return RangesRecord.read(folder / "ranges.json")


READERS = [
    (MANIFEST, read_manifest),
    (RECORD, PlanRecord.read),
    (LABELS, LabelledSet.open),
    ("parity.json", read_parity),
    ("ranges.json", read_ranges),
    ("recipe.toml", read_recipe_in),
    (SIGNATURE, read_signature),
]

SPOILT = {
    "empty": lambda path: path.touch(),
    "deep": lambda path: path.write_bytes(b'{"a":' * 100_000),
    "long number": lambda path: path.write_text('{"format": ' + "7" * 5000 + "}"),
    "large number": lambda path: path.write_text('{"format": ' + "7" * 4000 + "}"),
    "large numbers": lambda path: path.write_text('{"ranges": [{"min": ' + "7" * 4000 + "}]}"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "surrogate": lambda path: path.write_text('{"\\ud800": 1}'),
    "terminal codes": lambda path: path.write_text('{"\\u001b[2J\\n": 1, "format": 1}'),
    "not a number": lambda path: path.write_text('{"format": NaN}'),
    "another thing": lambda path: path.write_text('["format"]'),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_whoever_reads_json_says_in_a_sentence_what_is_wrong(tmp_path: Path, name: str, read, spoil) -> None:
    spoil(tmp_path / name)
    with pytest.raises(MgtsError) as refused:
        read(tmp_path)
    told = str(refused.value)
    assert name in told
    assert told.isprintable()
    assert len(told) < 700


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_whoever_reads_json_says_that_it_may_not(tmp_path: Path, monkeypatch, name: str, read) -> None:
    (tmp_path / name).write_text("{}")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(data_files, "_read", refuse)
    with pytest.raises(MgtsError, match=rf"Cannot read .*{name}: Permission denied\."):
        read(tmp_path)
