from aioproducer.cli.tables import table


def test_columns_fit_and_numbers_align_right() -> None:
    assert table(("n", "name"), [(1, "a"), (100, "longer")]).splitlines() == [
        "n    name",
        "  1  a",
        "100  longer",
    ]


def test_empty_table_is_its_header() -> None:
    assert table(("a", "b"), []) == "a  b"
