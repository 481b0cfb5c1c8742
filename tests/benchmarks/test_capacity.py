import json
import sys

import pytest

from benchmarks import capacity
from benchmarks.capacity import Load, Store, plan
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from tests.helpers.gpu_reports import make_report

STORE = Store(
    lines={
        "search_sightings_p50_ms": (5.0, 10.0),
        "search_sightings_cpu_ms": (4.0, 10.0),
        "search_sightings_mib": (512.0, 512.0),
        "disk_gb": (0.0, 4.0),
        "add_cpu_s": (0.0, 40.0),
        "optimise_cpu_s": (0.0, 46.4),
    },
    largest=2_000_000,
)
LOAD = Load(
    pictures_a_second=2,
    sightings_a_day=1000,
    people_a_sighting=10,
    days=30,
    largest=400_000,
    cores=4,
    people_a_second=20,
    hours=24,
)


def test_counted_by_hand() -> None:
    """100 cameras: 1,000,000 people a day, 11.6 a second; 200 pictures/s on devices of 100, of which 70 count."""
    found = plan(100, 100.0, STORE, LOAD)
    assert (found.devices, found.groups, found.galleries) == (3, 3, 90)
    assert found.people_a_day == 1_000_000
    assert found.people_a_gallery == 333_333
    assert found.disk_gb == pytest.approx(30 * 4)
    assert found.memory_gib == pytest.approx(1)
    assert found.writing_cores == pytest.approx(86.4 / 86400, abs=0.01)
    assert found.camera_day_ms == pytest.approx(5 + 10 / 3, abs=0.1)
    assert found.day_ms == found.camera_day_ms, "three galleries, each on a core of its own"
    assert found.all_days_ms == pytest.approx((4 + 10 / 3) * 90 / 4, abs=0.1)


def test_a_day_that_is_too_large_for_one_gallery_has_several() -> None:
    found = plan(1000, 1e6, STORE, LOAD)
    assert (found.devices, found.groups) == (1, 25)
    assert found.people_a_gallery == LOAD.largest


def test_writers_that_do_not_keep_up_ask_for_more_galleries() -> None:
    found = plan(100, 100.0, STORE, LOAD.model_copy(update={"people_a_second": 1}))
    assert (found.groups, found.bound) == (12, "writing")


@pytest.fixture
def tell(monkeypatch, tmp_path):
    """Run the command; gives its exit code."""

    def told(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks.capacity", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run_app(capacity.app)
        return int(ended.value.code or 0)

    return told


def test_from_what_was_measured(tell, tmp_path, capsys) -> None:
    assert tell("--json", tmp_path / "plan.json", "--keep", 7) == 0
    report = json.loads((tmp_path / "plan.json").read_text())
    one, hundred, many = report["plans"]
    assert [each["cameras"] for each in report["plans"]] == [1, 100, 10_000]
    for what in ("devices", "people_a_day", "disk_gb", "galleries", "memory_gib"):
        assert 0 < one[what] <= hundred[what] <= many[what]
    assert many["people_a_gallery"] <= report["load"]["largest"]
    assert one["galleries"] == 7
    assert "10,000 cameras" in " ".join(capsys.readouterr().out.split())


def test_refused(tell, tmp_path, capsys) -> None:
    (tmp_path / "other.json").write_text("{}")
    for option in ("--rates", "--growth"):
        assert tell(option, tmp_path / "none.json") == 2
        assert "Measure it first" in " ".join(capsys.readouterr().err.split())
        assert tell(option, tmp_path / "other.json") == 2
        assert "of benchmarks." in " ".join(capsys.readouterr().err.split())


def test_of_a_gpu_the_fastest_of_a_mode_counts(tmp_path) -> None:
    file, report = tmp_path / "gpu.json", make_report()
    file.write_text(report.model_dump_json())
    for mode in (None, "net"):
        assert capacity.device_rate(file, mode) == (report.device, "net", "fp16", 260)
    with pytest.raises(MgtsError, match="no pictures a second of mode joint"):
        capacity.device_rate(file, "joint")
