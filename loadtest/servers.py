"""Servers under test: how each is started, asked and understood. A peer is one file in loadtest/peers/."""

import importlib
import json
import os
import pkgutil
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtest import peers as _peers
from loadtest.asks import Ask, body_of
from loadtest.environment import is_made
from loadtest.machine import memory_of_tree, tree_of
from loadtest.prepare import ROOT, Prepared

START_SECONDS = 90.0
STOP_SECONDS = 20.0
_LEAST_PORT, _MOST_PORT = 10_000, 65_535
_NAMES_OF_NO_PEER = {"ranker"}

Items = list[tuple[str, float]]
Origin = tuple[str, str]
"""A variant and its version."""


def plain_items(answer: Any) -> Items:
    """The items of an answer {"items": [{"item_id", "score"}]}."""
    return [(one["item_id"], one["score"]) for one in answer["items"]]


def no_origin(answer: Any) -> Origin | None:  # noqa: ARG001  (most servers do not say)
    """For servers whose answers do not say what made them."""
    return None


@dataclass(frozen=True)
class Server:
    """One way to serve the model."""

    name: str
    command: Callable[[Path, int], Sequence[str]]
    """From the prepared variant's folder and a port to a command line."""
    path: str
    """Of its route; `{model}` stands for the model's name."""
    body: Callable[[Ask, str], Any] = body_of
    """From an ask and the variant's name to the JSON to send."""
    items: Callable[[Any], Items] = plain_items
    """From an answer's JSON to (item, score), best first."""
    origin: Callable[[Any], Origin | None] = no_origin
    """From an answer's JSON to the variant and version that made it, where it says so."""
    environment: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    """What its own virtual environment needs; empty: that of the project."""
    only: str | None = None
    """The only variant that it can serve, as model/variant; None: any."""
    note: str = ""
    """In which configuration it runs, and why."""
    judged: bool = True
    """Whether its answers can be right: an empty route's cannot."""

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
        """Whether its environment is complete, and of these requirements."""
        return not self.requirements or is_made(self.home, self.requirements)


class NotStarted(RuntimeError):
    """A server ended, or gave no right answer in time; the message has the end of its log."""


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
    prepared: Prepared
    start_seconds: float
    """From the start of its process to its first right answer."""

    @property
    def path(self) -> str:
        """Its route."""
        return self.server.path.format(model=self.prepared.place.model)

    def body(self, ask: Ask) -> Any:
        """What it is sent."""
        return self.server.body(ask, self.prepared.variant)

    def memory(self) -> dict[str, int]:
        """Bytes of the whole process tree."""
        return memory_of_tree(self.process.pid)

    def rest(self) -> None:
        """Stop the whole process tree where it stands: it takes no time from the server that is measured."""
        _signal(tree_of(self.process.pid), signal.SIGSTOP)

    def wake(self) -> None:
        """Let the process tree go on."""
        _signal(tree_of(self.process.pid), signal.SIGCONT)


@contextmanager
def started(
    server: Server, prepared: Prepared, first: Ask, cores: int | frozenset[int] | None
) -> Iterator[Running]:
    """The server over a prepared variant, on a free port, on one core or several, once it has answered.

    Its whole process tree ends with the block. Raises NotStarted.
    """
    port, log = free_port(), prepared.folder / f"{server.name.replace(' ', '_')}.log"
    command = [str(part) for part in server.command(prepared.folder, port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | dict(server.environment)
    wanted = {cores} if isinstance(cores, int) else cores
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=None if wanted is None else lambda: os.sched_setaffinity(0, wanted),  # noqa: PLW1509
        )
    try:
        running = Running(server, process, port, prepared, 0.0)
        _wait(running, first, log)
        yield replace(running, start_seconds=time.perf_counter() - begun)
    finally:
        _stop(process)


def free_port() -> int:
    """A port that nobody listens on; where there is one, of those that the kernel gives to nobody by itself."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    others = [port for port in range(_LEAST_PORT, _MOST_PORT + 1) if not first <= port <= last]
    random.shuffle(others)
    for port in (*others, 0):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found: int = one.getsockname()[1]
            return found
    raise OSError("no port is free")


def ask_once(running: Running, ask: Ask, timeout_seconds: float = 5.0) -> Items:
    """One request by the standard library's client. Raises OSError, ValueError and KeyError when it is not answered."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{running.path}",
        json.dumps(running.body(ask), separators=(",", ":")).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_seconds) as response:  # noqa: S310
        return running.server.items(json.load(response))


def _wait(running: Running, first: Ask, log: Path) -> None:
    name, deadline = running.server.name, time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise NotStarted(f"{name} ended at its start:\n{_tail(log)}")
        try:
            if ask_once(running, first):
                return
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.05)
    raise NotStarted(f"{name} did not answer within {START_SECONDS:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the process and everything below it, politely first."""
    everyone = tree_of(process.pid)
    _signal(everyone, signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _signal(everyone[1:], signal.SIGKILL)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
