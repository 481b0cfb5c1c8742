from tests.helpers.support_table import PAGE, with_tables


def test_the_tables_are_what_the_code_decides_by():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "write them anew: python -m tests.helpers.support_table"
