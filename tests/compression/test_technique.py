"""How techniques are found."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import cast

import pytest
from app.compression import techniques as folder
from app.compression.technique import Technique, techniques


def test_every_file_of_the_folder_is_a_technique_of_its_own_name() -> None:
    files = {path.stem for path in Path(folder.__path__[0]).glob("[!_]*.py")}
    assert {name: one.name for name, one in techniques().items()} == {name: name for name in files}
    assert list(techniques()) == sorted(files)


def test_nobody_can_add_one_on_the_way() -> None:
    with pytest.raises(TypeError):
        cast("MutableMapping[str, Technique]", techniques())["mine"] = techniques()["distill"]
