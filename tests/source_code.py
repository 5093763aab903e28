"""Reads the source of the application: its modules, what they import and where."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAT = "flat"
"""The layer of app/*.py."""


@dataclass(frozen=True)
class Import:
    """One imported module; `late` when the import stands inside a function."""

    module: str
    line: int
    late: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the application by its dotted name; a package goes by the name of its folder."""
    found = {}
    for path in sorted((ROOT / "app").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> tuple[Import, ...]:
    """What a module imports, in order; a name imported from a package counts as its module, where it is one."""
    tree = ast.parse(modules()[module].read_text())
    late = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    return tuple(
        Import(name, node.lineno, node in late)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node)
    )


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"a relative import in line {node.lineno}"
    assert node.module is not None
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield full if full in modules() else node.module


def own_imports(module: str) -> set[str]:
    """The modules of the application that a module imports, late ones included."""
    return {one.module for one in imports(module) if one.module.partition(".")[0] == "app"}


def reached(module: str, *, late: bool = True) -> set[str]:
    """Everything that a module imports, also through other modules; without `late`: when it is imported."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for one in imports(waiting.pop()):
            if (late or not one.late) and one.module not in found:
                found.add(one.module)
                waiting += [one.module] if one.module in modules() else []
    return found


def layer(module: str) -> str:
    """The package of the application that a module belongs to, or FLAT."""
    parts = module.split(".")
    is_package = len(parts) > 1 and modules()[".".join(parts[:2])].name == "__init__.py"
    return parts[1] if is_package else FLAT


def outside(names: set[str]) -> set[str]:
    """The top-level names of what is not of the application."""
    return {name.partition(".")[0] for name in names} - {"app"}
