"""The list of commands, what it loads, and how errors reach a person."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from app.cli.main import COMMANDS

from tests.cli.conftest import Ran

Slimrank = Callable[..., Ran]
OFFLINE = {"torch", "onnx", "scipy", "polars", "sklearn", "safetensors"}


def test_the_help_lists_every_command_with_one_line(slimrank: Slimrank) -> None:
    ran = slimrank("--help")
    assert ran.code == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in ran.out
        assert summary in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(slimrank: Slimrank, name: str) -> None:
    ran = slimrank(name, "--help")
    assert ran.code == 0
    assert f"slimrank {name}" in ran.out


def test_the_version(slimrank: Slimrank) -> None:
    ran = slimrank("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "slimrank")


def test_a_mistyped_command(slimrank: Slimrank) -> None:
    ran = slimrank("srve")
    assert ran.code == 2
    assert "Did you mean 'serve'" in ran.err


def test_an_error_is_one_line_without_a_traceback(slimrank: Slimrank) -> None:
    ran = slimrank("verify", "--store", "/nowhere/at/all")
    assert ran == Ran(2, "", "error: there is no store '/nowhere/at/all'; name it with --store\n")


def test_a_wrong_setting_is_named_by_its_flag_and_its_variable(
    slimrank: Slimrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = slimrank("serve", "--port", "99999", "--workers", "-1")
    assert ran.code == 2
    assert "--port (SLIMRANK_PORT): Input should be less than or equal to 65535" in ran.err
    assert "--workers (SLIMRANK_WORKERS): Input should be greater than or equal to 0" in ran.err
    monkeypatch.setenv("SLIMRANK_PORT", "eighty")
    assert "--port (SLIMRANK_PORT): Input should be a valid integer" in slimrank("verify").err


@pytest.mark.parametrize("module", ["app.cli.main", "app.cli.serve", "app.cli.rank", "app.cli.models"])
def test_online_commands_do_not_load_offline_libraries(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({OFFLINE!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_a_command_with_onnxruntime_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """Its telemetry would keep a database there, which is gone only when it is off before the import."""
    command = (sys.executable, "-m", "app.cli.main", "techniques")
    bare = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    subprocess.run(command, env=bare, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []
