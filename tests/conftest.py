"""What all tests share."""

import pytest
from hypothesis import settings

from tests.small_model import SmallModel, make_small_model

# The same examples in every run, and no limit on the time of one: the machine may be busy.
settings.register_profile("slimrank", deadline=None, derandomize=True)
settings.load_profile("slimrank")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    """A trained, compressed and published small model. It is shared: `copy` it before you change it."""
    return make_small_model(tmp_path_factory.mktemp("small"))
