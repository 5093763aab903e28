"""Makes the peers' virtual environments."""

from rich.console import Console

from loadtest.environment import make_environment
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
