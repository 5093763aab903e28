"""Servers under test: how each is started, asked and understood. A peer is one file in loadtest/peers/."""

import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest import peers as _peers
from loadtest.asks import Ask, body_of
from loadtest.machine import memory_of_tree, tree_of

ROOT = Path(__file__).parent.parent
START_SECONDS = 180.0
STOP_SECONDS = 20.0
_NAMES_OF_NO_PEER = {"ranker"}

Items = list[tuple[str, float]]


def plain_items(answer: Any) -> Items:
    """The items of an answer {"items": [{"item_id", "score"}]}."""
    return [(one["item_id"], one["score"]) for one in answer["items"]]


@dataclass(frozen=True)
class Server:
    """One way to serve the model."""

    name: str
    command: Callable[[Path, int], Sequence[str]]
    """From the prepared model's folder and a port to a command line."""
    path: str
    body: Callable[[Ask, str], Any] = body_of
    """From an ask and the variant's name to the JSON to send."""
    items: Callable[[Any], Items] = plain_items
    """From an answer's JSON to (item, score), best first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    """What its own virtual environment needs; empty: that of the project."""
    only: str | None = None
    """The only variant that it can serve; None: any."""
    note: str = ""
    """In which configuration it runs, and why."""

    @property
    def home(self) -> Path:
        """Its virtual environment, outside the project's."""
        return ROOT / ".cache" / "peers" / self.name.replace(" ", "_")

    @property
    def python(self) -> Path:
        """The interpreter it runs with."""
        folder = self.home if self.requirements else ROOT / ".venv"
        return folder / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether its environment is complete."""
        return not self.requirements or (self.home / ".ready").exists()


def known_peers() -> dict[str, Server]:
    """Every peer by name."""
    found = {}
    for module in pkgutil.iter_modules(_peers.__path__, f"{_peers.__name__}."):
        if module.name.rpartition(".")[2] not in _NAMES_OF_NO_PEER and "_app" not in module.name:
            server: Server = importlib.import_module(module.name).SERVER
            found[server.name] = server
    return found


@dataclass(frozen=True)
class Running:
    """A started server."""

    server: Server
    process: "subprocess.Popen[bytes]"
    port: int
    variant: str
    start_seconds: float
    """From the start of its process to its first right answer."""

    def memory(self) -> dict[str, int]:
        """Bytes of the whole process tree."""
        return memory_of_tree(self.process.pid)


@contextmanager
def started(server: Server, folder: Path, first: Ask, core: int | None, log: Path) -> Iterator[Running]:
    """The server over a prepared variant's folder, on a free port, on one core, once it has answered.

    Its whole process tree ends with the block.
    """
    port = free_port()
    command = [str(part) for part in server.command(folder, port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | dict(server.environment)
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
    try:
        _wait(server, process, port, first, folder.name, log)
        yield Running(server, process, port, folder.name, time.perf_counter() - begun)
    finally:
        _stop(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def ask_once(server: Server, port: int, ask: Ask, variant: str, timeout_seconds: float = 5.0) -> Items:
    """One request by the standard library's client. Raises OSError, ValueError and KeyError when it is not answered."""
    url = f"http://127.0.0.1:{port}{server.path}"
    request = urllib.request.Request(
        url,
        json.dumps(server.body(ask, variant), separators=(",", ":")).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_seconds) as response:  # noqa: S310
        return server.items(json.load(response))


def _wait(
    server: Server, process: "subprocess.Popen[bytes]", port: int, first: Ask, variant: str, log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} ended at its start:\n{_tail(log)}")
        try:
            if ask_once(server, port, first, variant):
                return
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.05)
    raise RuntimeError(f"{server.name} did not answer within {START_SECONDS:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the process and everything below it, politely first."""
    everyone = tree_of(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in everyone[1:]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
