"""Raw ids to rows: what a dict would say, for whatever ids."""

import numpy as np
import pytest
from app.id_table import IdTable
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(max_size=12)


@given(st.lists(TEXTS, unique=True, max_size=200), st.lists(TEXTS, max_size=50), st.randoms())
def test_it_finds_what_a_dict_finds(ids: list[str], others: list[str], random: object) -> None:
    table, known = IdTable(ids), {raw: row for row, raw in enumerate(ids)}
    asked = [*others, *ids]
    random.shuffle(asked)  # type: ignore[attr-defined]
    wanted = [known.get(raw, -1) for raw in asked]
    for times in (1, 300):  # few ids and many are looked up in different ways
        found = table.rows(asked * times)
        assert found.dtype == np.int64
        assert found.tolist() == wanted * times
    assert [table.row(raw) for raw in asked] == wanted


def test_every_one_of_many_is_found() -> None:
    ids = [f"item {number}" for number in range(150_000)]
    table = IdTable(ids)
    assert (table.rows(ids) == np.arange(150_000)).all()
    assert (table.rows([f"{one}." for one in ids]) == -1).all()
    assert table.rows(ids[:3]).tolist() == [0, 1, 2]
    assert [table.row(raw) for raw in (*ids[:1000], "nobody", "")] == [*range(1000), -1, -1]


def test_no_ids_and_no_questions() -> None:
    assert IdTable([]).rows(["a", ""]).tolist() == [-1, -1]
    assert IdTable([]).row("") == -1
    assert IdTable(["a"]).rows([]).tolist() == []


def test_ids_are_different() -> None:
    with pytest.raises(ValueError, match="an id is named twice"):
        IdTable(["a", "b", "a"])


def test_what_cannot_be_an_id_is_told() -> None:
    with pytest.raises(TypeError):
        IdTable(["a"]).rows([{}])  # type: ignore[list-item]
