"""Makes the peers' virtual environments, outside the project's own."""

import subprocess
import sys
import venv

from rich.console import Console

from loadtest.servers import Server, known_peers

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


def install() -> list[str]:
    """Install every peer that is not there yet; gives the names of those that could not be, which are left out."""
    failed = []
    for server in known_peers().values():
        if server.installed:
            continue
        _CONSOLE.print(f"installing {server.name}: {', '.join(server.requirements)}")
        if not _install(server):
            failed.append(server.name)
    return failed


def _install(server: Server) -> bool:
    venv.create(server.home, with_pip=True, clear=True)
    command = [
        str(server.python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *server.requirements,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        reason = ran.stderr.strip().rpartition("\n")[2]
        print(f"{server.name} cannot be installed: {reason}", file=sys.stderr)
        return False
    server.ready.write_text(" ".join(server.requirements))
    return True
