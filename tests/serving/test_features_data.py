"""The catalog of the small model against its data: a request that sends the raw values gets the same arrays."""

import numpy as np
import pytest
from app.catalog import Catalog
from app.serving.features import FeatureReader
from app.serving.query import Features, Query
from app.store import CATALOG
from app.training.data.dataset import RawTables
from app.training.data.source import Place
from app.training.data.sources.synthetic import SyntheticConfig, read

from tests.small_model import NAME, SmallModel

USERS = ["u0", "u1", "u77", "u199"]


@pytest.fixture(scope="module")
def reader(small_model: SmallModel) -> FeatureReader:
    store = small_model.store
    (manifest,) = store.manifests(NAME, CATALOG)
    return FeatureReader(Catalog.open(store.folder(NAME, CATALOG, manifest.version)), 1000)


@pytest.fixture(scope="module")
def tables(small_model: SmallModel) -> RawTables:
    config = SyntheticConfig(users=200, items=150, interactions=6000, text_dimension=4)
    return read(config, Place(small_model.cache, small_model.models / NAME))


def encoded(reader: FeatureReader, query: Query) -> Features:
    return reader.encode(query).features


def test_items_of_the_catalog_are_those_of_the_data(reader: FeatureReader, tables: RawTables) -> None:
    rows = tables.items.select("item_id", "category", "price", "text").to_dicts()
    ids = [row["item_id"] for row in rows]
    assert reader.catalog.item_ids == ids
    by_id, by_value = encoded(reader, Query({}, {}, ids)), encoded(reader, Query({}, {}, rows))
    assert by_id.rows == by_value.rows == 150
    for name, values in by_id.inputs.items():
        assert np.array_equal(values, by_value.inputs[name]), name


@pytest.mark.parametrize("user", USERS)
def test_users_of_the_catalog_are_those_of_the_data(
    reader: FeatureReader, tables: RawTables, user: str
) -> None:
    (row,) = tables.users.filter(user_id=user).to_dicts()
    by_id = encoded(reader, Query({"user_id": user}, {}, ["i0"]))
    by_value = encoded(reader, Query({"user_id": user, "segment": row["segment"]}, {}, ["i0"]))
    assert by_id.inputs["segment"].all()
    for name, values in by_id.inputs.items():
        assert np.array_equal(values, by_value.inputs[name]), name


@pytest.mark.parametrize("user", USERS)
def test_what_a_user_has_seen_is_in_the_data(reader: FeatureReader, tables: RawTables, user: str) -> None:
    met = set(tables.interactions.filter(user_id=user)["item_id"])
    left = reader.encode(Query({"user_id": user}, {}, None, exclude_seen=True)).item_ids
    assert set(left) == set(reader.catalog.item_ids) - met
    assert met


@pytest.mark.parametrize("user", USERS)
def test_the_history_of_a_user_is_what_the_training_rows_end_with(
    reader: FeatureReader, tables: RawTables, user: str
) -> None:
    train = tables.interactions.head(4800)  # by time; the newest fifth is for validation and test
    ids = train.filter(user_id=user)["item_id"].to_list()
    known = [one for one in ids if reader.catalog.encoder.knows("item_id", one)]
    assert known
    by_id = encoded(reader, Query({"user_id": user}, {}, ["i0"]))
    by_value = encoded(reader, Query({"user_id": user, "history": known[-5:]}, {}, ["i0"]))
    assert np.array_equal(by_id.inputs["history"], by_value.inputs["history"])
