"""Writes to a store, and may be killed at any moment.

`store_writer.py STORE` does one round after another until then, and says each number when it is done.

`store_writer.py STORE --die` reads numbers from standard input. For each it starts a process that does one round and
is killed before the operation of that number, and answers with its exit code: -9, or 0 when the round was shorter.
"""

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from app.active import State
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, Manifest
from app.store import CATALOG, ArtifactStore

MODEL = "tiny"


def one_round(store: ArtifactStore, number: int) -> None:
    """Publish a catalog and a variant, let it serve, go back, and collect."""
    catalog = _publish(store, CATALOG, number)
    version = _publish(store, "baseline", number, catalog)
    store.activate(
        MODEL, lambda state: State({**state.versions, "baseline": version}, state.policy, f"round {number}")
    )
    if store.active(MODEL).history and number % 3 == 0:
        store.roll_back(MODEL)
    store.collect(MODEL, 1)


def _publish(store: ArtifactStore, variant: str, number: int, catalog: str | None = None) -> str:
    with store.staged() as folder:
        for name in (GRAPH_FILE, GRAPH_DATA_FILE):
            (folder / name).write_bytes(f"{variant} {number} ".encode() * 5000)
        manifest = Manifest(model=MODEL, variant=variant, inputs_sha256=str(number), catalog=catalog)
        return store.publish(folder, manifest).version


def die_before(operation: int) -> None:
    """Kill this process before the operation of that number (counting from 1) on files."""
    count = itertools.count(1)

    def watch(event: str, _arguments: Any) -> None:
        if event.startswith(("open", "os.", "shutil.", "fcntl.", "tempfile.")) and next(count) == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main() -> None:
    store = ArtifactStore(Path(sys.argv[1]))
    if "--die" not in sys.argv:
        for number in itertools.count():
            one_round(store, number)
            print(number, flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            die_before(int(line))
            one_round(store, int(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
