"""What all tests share, and the order in which files of tests are run."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from hypothesis import settings

# Such small networks are slower on several threads, the more so beside other tests. It is read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before onnxruntime is imported, as the command line does it: see app/telemetry.py.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tests.loadtest.models import make_tiny_model
from tests.processes import HELD
from tests.small_model import SmallModel, made_small_model, make_small_model

# The same examples in every run, and no limit on the time of one: the machine may be busy.
settings.register_profile("slimrank", deadline=None, derandomize=True)
settings.load_profile("slimrank")

# Two processes take one file after another: a long one at the end would leave the other process without work.
LONG = (
    "tests/test_readme.py",
    "tests/test_models_guide.py",
    "tests/contracts/test_architectures.py",
    "tests/compression/test_killed.py",
    "tests/e2e/test_service.py",
    "tests/loadtest/test_scenes.py",
    "tests/contracts/test_students.py",
    "tests/contracts/test_pruned_architectures.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, in their order; the others stay as they are."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that are held."""
    with ThreadPoolExecutor(HELD) as threads:
        yield threads


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    """A trained, compressed and published small model. It is shared: `copy` it before you change it."""
    return _once(tmp_path_factory, "small", make_small_model)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    """A model with two features and one variant, for tests of the instrument. It is shared, too."""
    return _once(tmp_path_factory, "tiny", make_tiny_model)


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> SmallModel:
    """What the first process of a run makes, for all of them."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with Path(f"{folder}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not folder.exists():
            making = folder.with_name(f"{name}.making")
            make(making)
            making.rename(folder)  # a process that fails half-way leaves nothing that another would take
    return made_small_model(folder)
