"""How the parts that live one to a file are found: by walking their folder, so that adding one is adding a file."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any


def parts_of(folder: ModuleType, attribute: str) -> Mapping[str, Any]:
    """What each module of a package calls `attribute`, by its `name`, in alphabetical order."""
    modules = pkgutil.iter_modules(folder.__path__, f"{folder.__name__}.")
    found = [getattr(importlib.import_module(module.name), attribute) for module in modules]
    return MappingProxyType({part.name: part for part in sorted(found, key=lambda part: str(part.name))})


def names_in(folder: Path) -> list[str]:
    """The names of the parts in a package's folder, by its files alone: for those who may not import them.

    A part has the name of its file, as a contract of the tests holds it to.
    """
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
