"""The catalog as compression makes it."""

from pathlib import Path

import numpy as np
import pytest
from app.catalog import Catalog
from app.compression.make_catalog import make_catalog
from app.compression.subject import Subject
from app.errors import ConfigurationError
from app.schema import Side, trailing_shape
from app.training.rows import Prepared


@pytest.fixture(scope="module")
def catalog(subject: Subject, prepared: Prepared) -> Catalog:
    return make_catalog(subject.encoder, prepared, ("category", "price"))


def test_it_holds_every_item_and_user_as_they_were_trained_on(catalog: Catalog, prepared: Prepared) -> None:
    assert (catalog.item_ids, catalog.user_ids) == (prepared.item_ids, prepared.user_ids)
    for name, values in prepared.train.items.items():
        np.testing.assert_array_equal(catalog.items[name], values)
    for name, values in prepared.train.users.items():
        np.testing.assert_array_equal(catalog.users[name], values)
    assert set(catalog.users) == {one.name for one in catalog.encoder.schema.of_side(Side.USER)}


def test_histories_are_those_at_the_end_of_training(catalog: Catalog, prepared: Prepared) -> None:
    order = prepared.dataset.interactions["timestamp"].to_numpy()[prepared.split.train]
    newest = int(np.argmax(order))
    user, item = prepared.train.user_row[newest], prepared.train.item_row[newest]
    history = catalog.users["history"][user]
    assert history[history > 0][-1] == prepared.train.items["item_id"][item]


def test_an_interaction_counts_as_seen_whatever_its_split(catalog: Catalog, prepared: Prepared) -> None:
    splits = (prepared.train, prepared.validation, prepared.test)
    for user in range(len(prepared.user_ids)):
        met = {item for one in splits for item in one.item_row[one.user_row == user].tolist()}
        seen = catalog.seen_items[catalog.seen_offsets[user] : catalog.seen_offsets[user + 1]].tolist()
        assert seen == sorted(met)


def test_columns_to_display_are_raw_values(catalog: Catalog, prepared: Prepared) -> None:
    assert catalog.display == {name: prepared.dataset.items[name].to_list() for name in ("category", "price")}
    assert str(catalog.display["category"][0]).startswith("c")


def test_a_column_that_items_do_not_have(subject: Subject, prepared: Prepared) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^\[data\] display: the items have no column 'title'; they have: item_id, "
    ):
        make_catalog(subject.encoder, prepared, ("category", "title"))


@pytest.mark.parametrize("with_data", [True, False])
def test_it_can_be_written_and_read(
    subject: Subject, prepared: Prepared, tmp_path: Path, *, with_data: bool
) -> None:
    made = make_catalog(subject.encoder, prepared if with_data else None, ("category",) if with_data else ())
    made.write(tmp_path)
    read = Catalog.open(tmp_path)
    assert (read.item_ids, read.user_ids, read.display) == (made.item_ids, made.user_ids, made.display)
    for ours, theirs in ((read.items, made.items), (read.users, made.users)):
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values)
            assert ours[name].shape[1:] == trailing_shape(subject.encoder.schema[name])
    assert bool(made.item_ids) == with_data
