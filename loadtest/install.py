"""Makes the peers' virtual environments, outside the project's own."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtest.servers import known_peers

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


def install() -> list[str]:
    """Install every peer that is not there yet; gives the names of those that could not be, which are left out."""
    failed = []
    for server in known_peers().values():
        if server.installed:
            continue
        _CONSOLE.print(f"installing {server.name}: {', '.join(server.requirements)}")
        if not make_environment(server.name, server.home, server.requirements):
            failed.append(server.name)
    return failed


def make_environment(name: str, home: Path, requirements: Sequence[str]) -> bool:
    """Install the requirements into a new virtual environment; False, with the reason on stderr, when that fails."""
    venv.create(home, with_pip=True, clear=True)
    python = str(home / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"{name} cannot be installed: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return False
    (home / ".ready").touch()
    return True
