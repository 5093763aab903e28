"""The application, with a store that nobody changes, or with one of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.checks import serving
from tests.small_model import SmallModel


@pytest.fixture(scope="session")
def client(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """For requests that change nothing."""
    with serving(small_model.copy(tmp_path_factory.mktemp("served"))) as one:
        yield one


@pytest.fixture
def small(small_model: SmallModel, tmp_path: Path) -> SmallModel:
    """A small model of the test's own, to be changed."""
    return small_model.copy(tmp_path / "small")


@pytest.fixture
def own(small: SmallModel) -> Iterator[TestClient]:
    """A service over `small`."""
    with serving(small) as one:
        yield one
