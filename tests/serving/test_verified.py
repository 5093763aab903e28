"""What was compared once is not hashed again, and whatever is done to it is noticed all the same."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from app import artifact
from app.errors import ArtifactCorrupt
from app.serving.verified import Verified

from tests.serving.store_changes import active_version
from tests.small_model import NAME, SmallModel


@pytest.fixture
def folder(small: SmallModel) -> Path:
    time.sleep(0.1)  # what was copied just now is not remembered
    return small.store.folder(NAME, "baseline", active_version(small, "baseline"))


def test_a_folder_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    file_sha256 = artifact.file_sha256

    def noted(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(artifact, "file_sha256", noted)
    verified = Verified()
    first = verified.manifest(folder)
    assert len(hashed) == len(first.files) > 0
    assert verified.manifest(folder) == first
    assert len(hashed) == len(first.files)


def _write_in_place(path: Path) -> None:
    content, times = path.read_bytes(), path.stat()
    with path.open("r+b") as file:
        file.write(bytes([content[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # it looks as old as before


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)


def _link(path: Path) -> None:
    shutil.move(path, path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def _add(path: Path) -> None:
    path.with_name("stray").write_bytes(b"")


@pytest.mark.parametrize("change", [_write_in_place, _replace, _link, _add, Path.unlink])
def test_a_change_is_noticed_whatever_it_is(folder: Path, change: Callable[[Path], None]) -> None:
    verified = Verified()
    verified.manifest(folder)
    change(folder / artifact.GRAPH_FILE)
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt):
            verified.manifest(folder)


def test_what_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(ArtifactCorrupt):
        Verified().manifest(folder.with_name("0" * 16))
