"""Values of items computed beforehand: equal answers, whoever asks for them and however they are run together."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app.artifact import ITEMS_GRAPH_FILE, REST_GRAPH_FILE
from app.catalog import Catalog
from app.errors import ArtifactCorrupt
from app.serving.costs import RunCost
from app.serving.features import FeatureReader
from app.serving.item_side import CutSession
from app.serving.lane import Lane
from app.serving.query import Features, Query
from app.serving.session import Scoring, Session
from app.store import CATALOG
from app.training.graph_file import write_graph
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

from tests.compression.parts import graph_of
from tests.serving.store_changes import Running, activate, active_version, play, publish_graph
from tests.small_model import NAME, SmallModel

OWN = {"category": "c3", "price": 12.5, "text": [0.5, -0.5, 0.0, 1.0]}
CANDIDATES = st.lists(st.sampled_from([f"i{n}" for n in range(30)]), min_size=1, max_size=9, unique=True)


class Sides:
    """The baseline of the small model, whole and in parts."""

    def __init__(self, small: SmallModel) -> None:
        version = active_version(small, "baseline")
        self.folder = small.store.folder(NAME, "baseline", version)
        catalog = small.store.manifest(NAME, "baseline", version).catalog
        assert catalog is not None
        self.reader = FeatureReader(Catalog.open(small.store.folder(NAME, CATALOG, catalog)), 1000)
        self.whole = self._lane(Session(*self.arguments))
        cut = CutSession(*self.arguments)
        cut.compute()
        self.cut = self._lane(cut)

    @property
    def arguments(self) -> tuple[Path, Any, int, Any]:
        return self.folder, self.reader.schema, 1, self.reader.catalog.items

    def features(self, ids: list[str], own: list[bool], user: str) -> Features:
        objects = [{"item_id": one, **(OWN if has else {})} for one, has in zip(ids, own, strict=True)]
        query = Query({"user_id": user}, {}, objects if any(own) else ids)
        return self.reader.encode(query).features

    def _lane(self, scoring: Scoring) -> Lane:
        request = frozenset(one.name for one in self.reader.schema.request_features)
        return Lane(scoring, request, RunCost([(1, 1.0)]), run_rows=1000)


@cache
def sides(small: SmallModel) -> Sides:
    return Sides(small)


@given(data=st.data())
def test_requests_run_together_get_the_scores_of_the_whole_graph(
    small_model: SmallModel, data: st.DataObject
) -> None:
    both, parts = sides(small_model), []
    for _ in range(data.draw(st.integers(1, 4))):
        ids = data.draw(CANDIDATES)
        own = data.draw(st.just([False] * len(ids)) | st.tuples(*[st.booleans()] * len(ids)).map(list))
        features = both.features(ids, own, data.draw(st.sampled_from(["u1", "u2", "nobody"])))
        start = data.draw(st.integers(0, features.rows - 1))
        parts.append((features, start, data.draw(st.integers(start + 1, features.rows))))
    together = both.cut.run(parts)
    for scores, (features, start, stop) in zip(together, parts, strict=True):
        assert np.abs(scores - both.whole.score(features, start, stop)).max() < 1e-6
        assert np.abs(scores - both.cut.score(features, start, stop)).max() < 1e-6


def test_ids_alone_are_named_by_their_rows_and_features_of_their_own_are_sent(
    small_model: SmallModel,
) -> None:
    both = sides(small_model)
    plain = both.features(["i3", "i1"], [False, False], "u1")
    assert plain.catalog_rows is not None
    assert not plain.inputs.keys() & {one.name for one in both.reader.schema.item_features}
    assert both.features(["i3", "i1"], [False, True], "u1").catalog_rows is None


def test_the_values_are_kept_within_the_bytes_that_are_allowed(small: SmallModel) -> None:
    def kinds(**settings: Any) -> set[type]:
        found: list[type] = []

        async def scene(one: Running) -> None:
            found.extend(type(each.lane.scoring) for each in one.registry.get(NAME).variants.values())

        play(small, scene, **settings)
        return set(found)

    cut = CutSession(*sides(small).arguments)
    cut.compute()
    rows = len(sides(small).reader.catalog.item_ids)
    assert cut.value_bytes() % rows == 0
    assert cut.value_bytes() == cut.kept_bytes > 0
    assert kinds(item_values_bytes=0) == {Session}


def test_parts_that_do_not_fit_are_refused_and_the_old_version_goes_on(small: SmallModel) -> None:
    strange = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        items (float[C] weight) => (float[C] b) { b = Neg(weight) }"""
    )

    def write(folder: Path) -> None:
        write_graph(graph_of(small), folder)
        (folder / ITEMS_GRAPH_FILE).write_bytes(strange.SerializeToString())
        (folder / REST_GRAPH_FILE).write_bytes(strange.SerializeToString())

    async def scene(one: Running) -> None:
        before, scores = await one.answer()
        one.registry.get(NAME).variants["baseline"].lane.scoring = sides(small).cut.scoring
        activate(small, publish_graph(small, "baseline", write))
        await one.registry.refresh()
        assert "the parts of the graph do not fit its schema" in one.failures()["baseline"]
        again, same = await one.answer()
        assert again == before
        assert same == pytest.approx(scores, abs=1e-6)

    play(small, scene)


def test_a_graph_that_cannot_run_the_items_of_the_catalog_is_refused_and_the_old_version_goes_on(
    small: SmallModel,
) -> None:
    short = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        ranker (int64[C] item_id) => (float[C] score) <float[1] table = {0.5}> { score = Gather(table, item_id) }"""
    )

    async def scene(one: Running) -> None:
        before, _ = await one.answer()
        activate(small, publish_graph(small, "baseline", lambda folder: write_graph(short, folder)))
        await one.registry.refresh()
        assert "the graph does not run: " in one.failures()["baseline"]
        assert (await one.answer())[0] == before

    play(small, scene)


def test_a_part_that_does_not_run_is_told(small_model: SmallModel, tmp_path: Path) -> None:
    folder = tmp_path / NAME / "baseline" / "0123456789abcdef"
    folder.mkdir(parents=True)
    first = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        items (float[C] price) => (float[C] b) <float[2] two = {1.0, 2.0}> { b = Add(price, two) }"""
    )
    rest = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        rest (float[C] b) => (float[C] score) { score = Sigmoid(b) }"""
    )
    (folder / ITEMS_GRAPH_FILE).write_bytes(first.SerializeToString())
    (folder / REST_GRAPH_FILE).write_bytes(rest.SerializeToString())
    _, *others = sides(small_model).arguments
    with pytest.raises(ArtifactCorrupt, match="the graph of the items does not run"):
        CutSession(folder, *others).compute()
