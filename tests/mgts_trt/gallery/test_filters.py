import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgts_trt.errors import FilterError
from mgts_trt.gallery import Filter, Gallery, parse_filter
from mgts_trt.gallery.filters import FIELDS, Condition
from tests.helpers.stored_people import SPACE, entry, unit

pytest.importorskip("lancedb")

NASTY = ("' OR 1=1 --", "'); DROP TABLE people; --", 'a"b', "a\\", "%", "_", "`camera`", "é☃", "\n", "-- ")


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("camera=3", [("camera", "=", "3")]),
        (" camera = 3 , time >= 10 ", [("camera", "=", "3"), ("time", ">=", 10.0)]),
        ("camera=3,time>=10,source~shop", [("camera", "=", "3"), ("time", ">=", 10.0), ("source", "~", "shop")]),
        ("number!=-3,score<0.5", [("number", "!=", -3), ("score", "<", 0.5)]),
        ("time<=1e3,number>7", [("time", "<=", 1000.0), ("number", ">", 7)]),
        ('source~"a, b",camera!=""', [("source", "~", "a, b"), ("camera", "!=", "")]),
        ("camera=", [("camera", "=", "")]),
        ("source=/a=b.jpg", [("source", "=", "/a=b.jpg")]),
        ("source~it's", [("source", "~", "it's")]),
    ],
)  # fmt: skip
def test_reads(text, conditions) -> None:
    assert parse_filter(text) == Filter(tuple(Condition(*condition) for condition in conditions))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The filter '' cannot be read"),
        ("camera", "'camera' on; conditions such as camera=3"),
        ("camera=1,", "from '' on"),
        ("camera=1;time=2 OR 1=1, x", "from ' x' on"),
        ('source="a', "cannot be read"),
        ('source="a"b', "cannot be read"),
        ("colour=red", "no field 'colour' to filter by; there are source, camera"),
        ("embedding=1", "no field 'embedding'"),
        ("camera<3", "camera is a text: < does not apply"),
        ("time~3", "time is a number: ~ "),
        ("time=noon", "time is a number, but the filter compares it with 'noon'"),
        ("time<nan", "Name a number"),
        ("score<inf", "Name a number"),
        ("number=1.5", "number counts frames, but the filter compares it with '1.5'"),
        ("number=99999999999999999999", "whole number"),
    ],
)
def test_refuses(text, message) -> None:
    with pytest.raises(FilterError) as error:
        parse_filter(text)
    assert message in str(error.value)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Gallery:
    """A person for each nasty text, as source and as camera."""
    made = Gallery.create(tmp_path_factory.mktemp("filters") / "g", SPACE)
    made.add([entry(i, 1, source=text, camera=text) for i, text in enumerate(NASTY)])
    made.add([entry(100, 1, source="/without", time=None)])
    return made


def found(gallery: Gallery, where: Filter) -> list[str]:
    return sorted(person.source for person in gallery.search(unit(1, rows=1)[0], top=100, where=where))


@pytest.mark.parametrize("field", ["source", "camera"])
@pytest.mark.parametrize("text", NASTY)
def test_values_are_data(gallery, field, text) -> None:
    assert found(gallery, Filter((Condition(field, "=", text),))) == [text]
    assert found(gallery, Filter((Condition(field, "~", text),))) == [text]
    others = {*NASTY, "/without"} - {text} - ({"/without"} if field == "camera" else set())
    assert found(gallery, Filter((Condition(field, "!=", text),))) == sorted(others)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_is_data(gallery, text) -> None:
    assert found(gallery, Filter((Condition("source", "=", text),))) == ([text] if text in NASTY else [])
    assert found(gallery, Filter((Condition("source", "~", text),))) == sorted(
        source for source in (*NASTY, "/without") if text in source
    )


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text) -> None:
    try:
        conditions = parse_filter(text).conditions
    except FilterError:
        return
    assert conditions
    assert all(condition.field in FIELDS for condition in conditions)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("number<3", [0, 1, 2]), ("number<=3,number>1", [2, 3]), ("number=4", [4]), ("time>=4.5", [9]),
        ("number!=0,time<1", [1]), ("score>=0.9,number>7", [8, 9, 100]), ("time!=0,number>98", []),
    ],
)  # fmt: skip
def test_numbers_compare(gallery, text, numbers) -> None:
    people = gallery.search(unit(1, rows=1)[0], top=100, where=parse_filter(text))
    assert sorted(person.number for person in people) == numbers


def test_no_condition_holds_for_all(gallery) -> None:
    assert len(found(gallery, Filter(()))) == len(NASTY) + 1
