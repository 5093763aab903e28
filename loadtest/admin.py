"""What an operator does while load is on: recompress, and let other versions become active."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "a-key-for-the-load-test"
_SWAP_SECONDS = 0.2
_JOBS_SECONDS = 900.0
_UNDER_WAY = {"queued", "running"}


@dataclass(frozen=True)
class Admin:
    """The admin routes of a running service, for one variant."""

    port: int
    model: str
    versions: Path
    """The variant's folder in the store; a folder for each version."""

    def wait_for_jobs(self) -> None:
        """A store that is not up to date is made so first: only what a scenario asks for may run beside it."""
        deadline = time.monotonic() + _JOBS_SECONDS
        while any(job["state"] in _UNDER_WAY for job in self._ask("/admin/jobs")["jobs"]):
            if time.monotonic() > deadline:
                raise SystemExit(f"the compression of {self.model} did not end in {_JOBS_SECONDS:.0f} s")
            time.sleep(1)

    @contextmanager
    def beside(self, what: str) -> Iterator[dict[str, Any]]:
        """Do "recompression", "swaps" or "nothing" until the block ends; gives what happened, complete after it."""
        notes: dict[str, Any] = {}
        if what == "nothing":
            yield notes
            return
        work = {"recompression": self._recompress, "swaps": self._swap}[what]
        stop = threading.Event()
        thread = threading.Thread(target=work, args=(stop, notes), daemon=True)
        thread.start()
        try:
            yield notes
        finally:
            stop.set()
            thread.join(30)

    def _recompress(self, stop: threading.Event, notes: dict[str, Any]) -> None:
        """Make the variant again and again; how often that succeeded is noted."""
        notes["jobs_succeeded"] = notes["jobs_failed"] = 0
        body = {"recipes": [self.versions.name], "force": True}
        while not stop.is_set():
            job = self._ask(f"/admin/models/{self.model}/compress", body)["id"]
            state = "queued"
            while not stop.wait(0.5) and state in _UNDER_WAY:
                state = self._ask(f"/admin/jobs/{job}")["state"]
            notes["jobs_succeeded"] += state == "succeeded"
            notes["jobs_failed"] += state == "failed"
        # The last one is not waited for, and nothing that follows may run beside it.
        if state in _UNDER_WAY:
            self._ask(f"/admin/jobs/{job}", method="DELETE")
            self.wait_for_jobs()

    def _swap(self, stop: threading.Event, notes: dict[str, Any]) -> None:
        """Let the variant's other version become active, over and over: each is loaded, warmed and swapped in."""
        published = self._equal_versions()
        notes["swaps"], notes["versions"] = 0, len(published)
        # With one version there is nothing to swap, and the report shows it: no recompression ended in time before.
        while len(published) > 1 and not stop.wait(_SWAP_SECONDS):
            wanted = {"variant": self.versions.name, "version": published[notes["swaps"] % len(published)]}
            self._ask(f"/admin/models/{self.model}/activate", wanted)
            notes["swaps"] += 1

    def _equal_versions(self) -> list[str]:
        """Versions that were made of the same inputs as the newest: all of them give the same scores."""
        made = {}
        for path in sorted(self.versions.iterdir(), key=lambda one: one.stat().st_mtime):
            made[path.name] = json.loads((path / "manifest.json").read_text())["inputs_sha256"]
        newest = list(made.values())[-1]
        return [name for name, inputs in made.items() if inputs == newest]

    def _ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  (a loopback address)
            return json.load(response)
