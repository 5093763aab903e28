from pathlib import Path
from types import ModuleType

import pytest
from app.compression import techniques
from app.compression.technique import techniques as known_techniques
from app.plugins import names_in, parts_of
from app.training import architectures
from app.training.architecture import architectures as known_architectures


def test_every_file_of_a_folder_is_a_part() -> None:
    for folder, attribute, known in (
        (techniques, "TECHNIQUE", known_techniques()),
        (architectures, "ARCHITECTURE", known_architectures()),
    ):
        (path,) = folder.__path__
        files = sorted(one.stem for one in Path(path).glob("[!_]*.py"))
        assert sorted(parts_of(folder, attribute)) == list(known) == files
        assert names_in(Path(path)) == files


def test_a_file_without_the_part_is_an_error() -> None:
    with pytest.raises(AttributeError, match="NO_SUCH_PART"):
        parts_of(techniques, "NO_SUCH_PART")


def test_an_empty_folder_has_no_parts() -> None:
    empty = ModuleType("empty")
    empty.__path__ = []
    assert parts_of(empty, "TECHNIQUE") == {}
