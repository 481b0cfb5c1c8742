import io
import re

from rich.console import Console

from mgts_trt.cli.bench import bench_table
from mgts_trt.pictures.palette import STAGES, rgb
from tests.helpers.bench_reports import STAGE_MS, bench_report


def printed(preset: str = "edge", people: tuple[int, int, int] = (8, 8, 8)) -> str:
    """The table as a terminal of full colours gets it."""
    report = bench_report(preset)
    for result, count in zip(report.modes, people, strict=True):
        result.people = count
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80)
    console.print(bench_table(report))
    return console.file.getvalue()


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r" *\n", "\n", re.sub(r"\x1b\[[\d;]*m", "", text))


def test_each_stage_has_the_colour_of_its_bar() -> None:
    text = printed()
    for stage in STAGE_MS:
        red, green, blue = rgb(STAGES[stage])
        assert f"38;2;{red};{green};{blue}m{stage}" in text


def test_people_are_counted() -> None:
    assert "1116×600, 1 person\n" in plain(printed(people=(1, 1, 1)))
    assert "1116×600, 8 people\n" in plain(printed())
    differ = plain(printed(people=(1, 2, 8)))
    assert "1 to 8 people, see mode" in differ
    assert "none, 1 person" in differ
    assert "net, 2 people" in differ


def test_the_papers_numbers_are_compared_with_its_own_networks_alone() -> None:
    assert "do not" in printed("edge")
    assert "do not" not in printed("paper")
    for preset in ("edge", "paper"):
        text = printed(preset)
        assert all(number in text for number in ("650 ms", "626 ms", "579 ms", "64 ms", "1270 ms", "690 ms"))


def test_a_batch_is_told() -> None:
    report = bench_report("edge")
    console = Console(file=io.StringIO(), width=120)
    console.print(bench_table(report.model_copy(update={"batch": 4})))
    assert "runs of 4 pictures at once, " in console.file.getvalue()
    assert "at once" not in plain(printed())
