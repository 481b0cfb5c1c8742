import pytest

from mgts_trt.gallery.chosen_rows import read_rows

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")

LETTERS = "hdbfaceg"


@pytest.fixture
def table(tmp_path):
    """Rows in no order, in two files, one of which has been replaced."""
    table = lancedb.connect(tmp_path).create_table("t", pa.table({"id": list(LETTERS[:4]), "age": [8, 4, 2, None]}))
    table.add(pa.table({"id": list(LETTERS[4:]), "age": [1, 3, 5, 7]}))
    table.merge_insert("id").when_matched_update_all().execute(pa.table({"id": ["f"], "age": [6]}))
    return table


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, dict(zip(LETTERS, (8, 4, 2, 6, 1, 3, 5, 7), strict=True))),
        ({"condition": "age > 5"}, {"h": 8, "f": 6, "g": 7}),
        ({"condition": "age > 9"}, {}),
        ({"condition": lancedb.expr.col("id").isin(["a", "z"])}, {"a": 1}),
        ({"limit": 0}, {}),
        ({"offset": 8}, {}),
    ],
)
def test_rows_that_a_condition_leaves(table, asked, expected) -> None:
    rows = read_rows(table, ["age", "id"], **asked)
    assert rows.schema.names == ["age", "id"]
    assert dict(zip(rows["id"].to_pylist(), rows["age"].to_pylist(), strict=True)) == expected
    assert read_rows(table, ["age"], **asked)["age"].to_pylist() == rows["age"].to_pylist()


@pytest.mark.parametrize(("offset", "limit", "ages"), [(0, None, range(1, 9)), (2, 3, (3, 4, 5)), (6, 9, (7, 8))])
def test_rows_in_order(table, offset, limit, ages) -> None:
    rows = read_rows(table, ["id", "age"], order=("age", "id"), offset=offset, limit=limit)
    pairs = list(zip(rows["id"].to_pylist(), rows["age"].to_pylist(), strict=True))
    assert [age for _, age in pairs] == list(ages)
    assert all(LETTERS[(8, 4, 2, 6, 1, 3, 5, 7).index(age)] == name for name, age in pairs)


def compact(table) -> None:
    table.optimize()


def erase(table) -> None:
    table.delete("id IN ('d', 'a')")
    table.optimize()


def replace(table) -> None:
    table.merge_insert("id").when_matched_update_all().execute(pa.table({"id": ["b"], "age": [20]}))


@pytest.mark.parametrize("meanwhile", [compact, erase, replace])
def test_a_commit_between_the_steps_mixes_no_rows_up(table, meanwhile, monkeypatch) -> None:
    take, calls = type(table).take_row_ids, []

    def overtaken(self, row_ids):
        calls.append(row_ids)
        if len(calls) == 1:
            meanwhile(self)
        return take(self, row_ids)

    monkeypatch.setattr(type(table), "take_row_ids", overtaken)
    rows = read_rows(table, ["id", "age"])
    plain = table.search().select(["id", "age"]).to_arrow()
    assert dict(zip(*(rows[name].to_pylist() for name in ("id", "age")), strict=True)) == dict(
        zip(*(plain[name].to_pylist() for name in ("id", "age")), strict=True)
    )
