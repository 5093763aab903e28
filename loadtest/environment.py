"""Virtual environments outside the project's own: what others need must not meet what we need."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

_READY_FILE = ".ready"


def is_made(home: Path, requirements: Sequence[str]) -> bool:
    """Whether the environment is complete, and of these requirements."""
    ready = home / _READY_FILE
    return ready.exists() and ready.read_text() == " ".join(requirements)


def make_environment(name: str, home: Path, requirements: Sequence[str]) -> bool:
    """Install the requirements into a new virtual environment; False, with the reason on stderr, when that fails."""
    venv.create(home, with_pip=True, clear=True)
    python = str(home / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        reason = ran.stderr.strip().rpartition("\n")[2]
        print(f"{name} cannot be installed: {reason}", file=sys.stderr)
        return False
    (home / _READY_FILE).write_text(" ".join(requirements))
    return True
