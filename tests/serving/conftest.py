"""What tests of serving share."""

from pathlib import Path

import pytest

from tests.small_model import SmallModel


@pytest.fixture
def small(small_model: SmallModel, tmp_path: Path) -> SmallModel:
    """A small model of the test's own, to be changed."""
    return small_model.copy(tmp_path / "small")
