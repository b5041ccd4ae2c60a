from aioproducer.cli.tables import table


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() -> None:
    assert table(("n", "name"), [(1, "a"), (100, "longer")]).splitlines() == [
        "n    name",
        "  1  a",
        "100  longer",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("a", "b"), []) == "a  b"
