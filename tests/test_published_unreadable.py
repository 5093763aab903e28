"""A store that this process may not read: told, not a fault."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from app.errors import StoreUnavailable
from app.published import published_variants

from tests.small_model import NAME, SmallModel

_NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions count for nothing to root: be somebody else meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def small(small_model: SmallModel) -> Iterator[SmallModel]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield small_model.copy(folder)


def test_a_variant_that_may_not_be_read_does_not_hide_the_others(small: SmallModel) -> None:
    folder = small.store_folder / NAME / "int8-static"
    folder.chmod(0)
    try:
        with as_nobody():
            found = published_variants(small.store, NAME)
    finally:
        folder.chmod(0o755)
    assert list(found.readable) == ["baseline", "int8-dynamic"]
    assert "Permission denied" in found.unreadable["int8-static"]
    assert str(small.store_folder) not in found.unreadable["int8-static"]


def test_a_store_that_may_not_be_read_is_said_without_its_paths(small: SmallModel) -> None:
    small.store_folder.chmod(0)
    try:
        with as_nobody(), pytest.raises(StoreUnavailable) as caught:
            published_variants(small.store, NAME)
    finally:
        small.store_folder.chmod(0o755)
    assert caught.value.message == "the store cannot be read: Permission denied"
