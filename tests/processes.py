"""What tests of processes share: bounded waits, a look at /proc, and a service of small real parts."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from app.jobs import QUEUE_FILE, JobQueue

PROGRAMS = Path(__file__).parent / "programs"
SMALL_SERVICE = (sys.executable, str(PROGRAMS / "small_service.py"))
REAL_SERVICE = (sys.executable, "-m", "app.cli.main", "serve")
# Only what is broken lasts that long: the machine may be slow, and shared with others.
WAIT_SECONDS = 240.0
HELD = 6


def eventually(check: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """The first true value of `check`; the test fails when none comes in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError(f"did not happen in {seconds} s: {what}")


def alive(pid: int) -> bool:
    """Whether the process runs: a zombie, which nobody has reaped yet, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and alive(int(folder.name)):
            found.append(int(folder.name))
    return sorted(found)


def name_of(pid: int) -> str:
    """The name that the process has given itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def environment(**settings: Any) -> dict[str, str]:
    """This process's environment with these settings, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIMRANK_")}
    return kept | {f"SLIMRANK_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass
class Service:
    """A supervisor in a process of its own, with the stand-in application of tests/programs/small_worker.py."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    everyone: set[int] = field(default_factory=set)

    @property
    def queue(self) -> JobQueue:
        return JobQueue(self.folder / "store" / QUEUE_FILE)

    def get(self, path: str) -> Any:
        """The JSON of a GET on a connection of its own."""
        response = httpx2.get(self.url + path, timeout=WAIT_SECONDS)
        response.raise_for_status()
        return response.json()

    def children(self) -> list[int]:
        """Workers, warm parent and compressor now; all that were ever seen are remembered for `leaves_nobody`."""
        found = children_of(self.process.pid)
        self.everyone.update(found)
        return found

    def workers(self) -> list[int]:
        """The living workers that have begun."""
        return [pid for pid in self.children() if name_of(pid) == "slimrank-worker"]

    def warm_parent(self) -> int | None:
        """The process that workers are forked from, where there is one."""
        return next((pid for pid in self.children() if name_of(pid) == "slimrank-warm"), None)

    def log(self) -> str:
        """What the service has said so far."""
        return (self.folder / "log").read_text()

    def signal(self, what: signal.Signals) -> None:
        """Send a signal to the supervisor alone."""
        self.children()
        self.process.send_signal(what)

    def exit_code(self) -> int:
        return self.process.wait(WAIT_SECONDS)

    def leaves_nobody(self) -> None:
        """Every child that was ever seen is gone, or goes now."""
        eventually(lambda: not any(map(alive, self.everyone)), "the end of all children")

    def refuses(self) -> bool:
        """Whether new connections are refused."""
        try:
            httpx2.get(self.url + "/pid", timeout=1.0)
        except httpx2.ConnectError:
            return True
        except httpx2.HTTPError:
            return False
        return False


@contextmanager
def service(
    folder: Path, *, wait: bool = True, command: Sequence[str] = SMALL_SERVICE, **settings: Any
) -> Iterator[Service]:
    """A running service (with `wait`, one that answers); what is left of it at the end is killed."""
    settings = {"port": 0, "store": folder / "store", "models": folder / "models", **settings}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment(**settings) | {"TEST_FOLDER": str(folder), "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    said = process.stdout.readline().decode()
    url = re.search(r"http://\S+", said)
    running = Service(process, url[0] if url else said.strip(), folder)
    try:
        if wait:
            running.get("/pid" if command == SMALL_SERVICE else "/health/live")
        yield running
    finally:
        running.children()
        for pid in (process.pid, *running.everyone):
            with suppress(ProcessLookupError):  # its parent's end may have ended it meanwhile
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)
        process.stdout.close()


def hold(running: Service, pool: ThreadPoolExecutor) -> list[Future[str]]:
    """Requests that are under way, each inside its route, until the file `release` appears."""
    held = [pool.submit(running.get, f"/hold/{number}") for number in range(HELD)]
    eventually(lambda: len(list(running.folder.glob("held-*"))) == HELD, "all requests under way")
    return held
