"""The layers of the application, the size of its parts and their names."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.source_code import FLAT, ROOT, imports, layer, modules, outside, own_imports, reached

MAY_IMPORT = {
    FLAT: {FLAT},
    "training": {"training", FLAT},
    "compression": {"compression", "training", FLAT},
    "serving": {"serving", FLAT},
    "api": {"api", "serving", FLAT},
    "cli": {"cli", "api", "serving", "compression", "training", FLAT},
}
"""By layer, the layers that its modules may import."""
# Training knows data and models; where artifacts are kept and jobs wait is not its business.
NOT_FOR_TRAINING = {"app.store", "app.active", "app.jobs", "app.fingerprint", "app.stale"}
EXTRA = {"torch", "onnx", "onnxscript", "scipy", "polars", "safetensors"}
"""What only the optional extra `compress` brings."""
OFFLINE = EXTRA | {"sklearn"}
ONLINE = sorted(name for name in modules() if layer(name) in {"api", "serving", FLAT})
NAMES_OF_NOTHING = {
    *("manager", "managers", "helper", "helpers", "util", "utils", "common", "handler", "handlers"),
    *("core", "misc"),
}
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
SOURCES = sorted(path for folder in ("app", "tests", "loadtest") for path in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_imports_that_everyone_knows_are_found() -> None:
    assert "app.store" in own_imports("app.compression.site")
    assert "app.api.rank" in own_imports("app.api.service"), "a module named in `from package import`"
    assert "torch" in reached("app.compression.pipeline")
    assert "torch" in reached("app.compression.compressor")
    assert "torch" not in reached("app.compression.compressor", late=False)
    assert {layer(name) for name in modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_a_layer_imports_only_what_lies_below(name: str) -> None:
    upward = [
        f"{module} imports {imported}"
        for module in modules()
        if layer(module) == name
        for imported in sorted(own_imports(module))
        if layer(imported) not in MAY_IMPORT[name]
    ]
    assert upward == []


def test_training_does_not_know_the_store_or_the_queue() -> None:
    found = {
        f"{module} reaches {sorted(known)}"
        for module in modules()
        if layer(module) == "training" and (known := reached(module) & NOT_FOR_TRAINING)
    }
    assert found == set()


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: own_imports(module) - {module} for module in modules()}
    order = list(TopologicalSorter(graph).static_order())
    assert set(modules()) <= set(order)


def test_imports_inside_functions_are_for_the_optional_extra() -> None:
    unneeded = [
        f"{module}:{one.line} imports {one.module}"
        for module in modules()
        for one in imports(module)
        if one.late
        and not outside({one.module, *(reached(one.module) if one.module in modules() else ())}) & EXTRA
    ]
    assert unneeded == []


@pytest.mark.parametrize("module", ONLINE)
def test_online_code_never_imports_offline_libraries(module: str) -> None:
    assert outside(reached(module)) & OFFLINE == set()


def test_a_worker_starts_without_offline_libraries() -> None:
    code = f"import sys, app.api.worker; print(*sorted({OFFLINE!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_files_and_functions_fit_on_few_screens(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = [
        f"{node.name}: {lines} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_every_module_has_a_name_that_says_what_it_is() -> None:
    vague = [
        shown(path)
        for path in SOURCES
        for word in (*path.relative_to(ROOT).parts[:-1], *path.stem.split("_"))
        if word in NAMES_OF_NOTHING
    ]
    assert vague == []


def test_package_files_are_empty() -> None:
    assert [shown(path) for path in SOURCES if path.name == "__init__.py" and path.read_text()] == []


def test_nothing_is_pickled() -> None:
    unsafe = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    found = {
        module: bad for module in modules() if (bad := outside({i.module for i in imports(module)}) & unsafe)
    }
    assert found == {}
