"""How a version is made ready: which sizes are run before the first request is."""

from types import SimpleNamespace

import pytest
from app.catalog import Catalog
from app.serving import lane, warm
from app.serving.features import FeatureReader
from app.serving.lane import SIZES
from app.serving.query import Query
from app.serving.session import Scoring
from app.settings import Settings
from app.store import CATALOG

from tests.serving.store_changes import active_version
from tests.small_model import NAME, SmallModel


def test_a_new_version_is_warmed_with_the_sizes_of_the_last_runs(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = active_version(small, "baseline")
    folder = small.store.folder(NAME, "baseline", version)
    catalog = small.store.manifest(NAME, "baseline", version).catalog
    assert catalog is not None
    reader = FeatureReader(Catalog.open(small.store.folder(NAME, CATALOG, catalog)), 1000)
    settings = Settings(store=small.store_folder, models=small.models)
    run = warm._run
    sizes: list[int] = []

    def noted(scoring: Scoring, reader: FeatureReader, rows: int) -> None:
        sizes.append(rows)
        run(scoring, reader, rows)

    monkeypatch.setattr(warm, "_run", noted)
    first = warm.warm_lane(folder, reader, settings, None)
    assert set(sizes) >= set(SIZES), "nothing is known yet"
    sizes.clear()
    for count in (7, 3, 7):
        features = reader.encode(Query({}, {}, [f"i{number}" for number in range(count)])).features
        first.run([(features, 0, count)])
    warm.warm_lane(folder, reader, settings, first)
    assert set(sizes) >= {1, 3, 7, max(first.run_rows, SIZES[1])}


@pytest.mark.parametrize(
    ("run_rows", "base_us", "row_us", "sizes"),
    [
        (128, 20.0, 1.0, [1, 128]),
        (1, 50.0, 0.2, [1, 8, 64, 128, 256]),
        (1024, 50.0, 0.01, [1, 1024]),
        (64, 50.0, 0.0, [1, 64, 128, 256, 512, 1024]),
    ],
)
def test_sizes_are_timed_until_one_tells_what_a_row_costs(
    monkeypatch: pytest.MonkeyPatch, run_rows: int, base_us: float, row_us: float, sizes: list[int]
) -> None:
    now_us = 0.0

    def run(rows: int) -> None:
        nonlocal now_us
        now_us += base_us + row_us * rows

    monkeypatch.setattr(lane, "time", SimpleNamespace(perf_counter=lambda: now_us / 1e6))
    assert warm._brief_timings(run, run_rows) == [
        (rows, pytest.approx((base_us + row_us * rows) / 1e6)) for rows in sizes
    ]
