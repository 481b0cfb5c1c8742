import json

import pytest

from mgts_trt.bundle.records import ParityRecord, Range, RangesRecord
from mgts_trt.errors import BundleError
from tests.helpers.paths import ROOT

ROW = Range(node="/Conv", op="Conv", tensor="y", min=-1.5, max=2, largest=2, subnormal=0, overflow=0.25)


def test_ranges_survive_their_file(tmp_path) -> None:
    path = tmp_path / "ranges" / "mgts.json"
    record = RangesRecord(pictures=("one.jpg", 'a "quoted" name.png'), ranges=(ROW, ROW))
    record.write(path)
    assert RangesRecord.read(path) == record
    assert len(path.read_text().splitlines()) == 4  # one row a line
    assert json.loads(path.read_text())["ranges"][0]["node"] == "/Conv"


def test_a_file_of_a_newer_version_is_read(tmp_path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"pictures": [], "ranges": [{**ROW.model_dump(), "new": 1}], "newer": True}))
    assert RangesRecord.read(path).ranges == (ROW,)


def test_the_numbers_of_this_repository_are_a_record() -> None:
    """Written by `mgts-trt parity --json`."""
    record = ParityRecord.read(ROOT / "benchmarks" / "results" / "parity_edge.json")
    assert record.task.people == 398
    assert {row.metric for row in record.task.comparisons} >= {"box_ap", "reid_map"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is no JSON, Expecting value"),
        ("[]", "at its top"),
        ('{"pictures": [], "ranges": []}', "at ranges: Tuple should have at least 1 item"),
        ('{"pictures": 1, "ranges": []}', "at pictures"),
        ('{"pictures": [], "ranges": [{"node": 1}]}', "at ranges.0.node"),
    ],
)
def test_what_is_no_record_is_told_in_a_sentence(tmp_path, text: str, told: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(BundleError, match="is not what the export writes: ") as refused:
        RangesRecord.read(path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_record_that_is_not_there(tmp_path) -> None:
    with pytest.raises(BundleError, match=r"Cannot read .*: No such file"):
        ParityRecord.read(tmp_path / "none.json")
