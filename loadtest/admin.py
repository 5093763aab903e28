"""What an operator does while load is on: recompress, and let other versions become active."""

import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from loadtest.alongside import Side, alongside

KEY = "a-key-for-the-load-test"
_SWAP_SECONDS = 0.2
_JOBS_SECONDS = 900.0
_POLICY_SECONDS = 30.0
_UNDER_WAY = {"queued", "running"}


@dataclass(frozen=True)
class Admin:
    """The admin routes of a running service, for one variant."""

    port: int
    model: str
    versions: Path
    """The variant's folder in the store; a folder for each version."""

    @property
    def variant(self) -> str:
        """The variant that is made again and swapped."""
        return self.versions.name

    def wait_for_jobs(self) -> None:
        """A store that is not up to date is made so first: only what a scenario asks for may run beside it."""
        deadline = time.monotonic() + _JOBS_SECONDS
        while any(job["state"] in _UNDER_WAY for job in self._ask("/admin/jobs")["jobs"]):
            if time.monotonic() > deadline:
                raise SystemExit(f"the compression of {self.model} did not end in {_JOBS_SECONDS:.0f} s")
            time.sleep(1)

    def make_second_version(self) -> list[str]:
        """Versions of equal inputs, two at least: where there is one, the variant is made again, and waited for.

        Raises SystemExit when that fails.
        """
        if len(self.equal_versions()) < 2:
            job = self._compress()
            self.wait_for_jobs()
            ended = self._ask(f"/admin/jobs/{job}")
            if ended["state"] != "succeeded" or len(self.equal_versions()) < 2:
                why = ended["error"] or f"the job {ended['state']}"
                raise SystemExit(f"there is no second version of {self.model}/{self.variant}: {why}")
        return self.equal_versions()

    def beside(self, what: str) -> AbstractContextManager[dict[str, Any]]:
        """Do "recompression", "swaps" or "nothing" until the block ends; gives what happened, complete after it."""
        works: dict[str, Callable[[Side], None]] = {"recompression": self._recompress, "swaps": self._swap}
        return nullcontext({}) if what == "nothing" else alongside(works[what])

    def activate(self, version: str) -> None:
        """Let a version of the variant serve; the workers take it up when they notice."""
        self._ask(f"/admin/models/{self.model}/activate", {"variant": self.variant, "version": version})

    def loaded_version(self) -> str | None:
        """The version of the variant that the worker which answers has in memory."""
        loaded = self._ask("/health/ready")["models"][self.model]["loaded"]
        version: str | None = loaded.get(self.variant)
        return version

    def set_policy(self, policy: dict[str, Any]) -> None:
        """Set the model's policy, every field of it, and wait until the one worker has it.

        Raises TimeoutError when it does not take it up.
        """
        self._ask(f"/admin/models/{self.model}/activate", {"policy": policy})
        deadline = time.monotonic() + _POLICY_SECONDS
        while not policy.items() <= self._ask(f"/v1/models/{self.model}")["policy"].items():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the policy was not taken up in {_POLICY_SECONDS:.0f} s")
            time.sleep(0.05)

    def equal_versions(self) -> list[str]:
        """Versions that were made of the same inputs as the newest: all of them give the same scores."""
        made = {}
        for path in sorted(self.versions.iterdir(), key=lambda one: one.stat().st_mtime):
            made[path.name] = json.loads((path / "manifest.json").read_text())["inputs_sha256"]
        newest = list(made.values())[-1]
        return [name for name, inputs in made.items() if inputs == newest]

    def _compress(self) -> str:
        body = {"recipes": [self.variant], "force": True}
        job: str = self._ask(f"/admin/models/{self.model}/compress", body)["id"]
        return job

    def _recompress(self, side: Side) -> None:
        """Make the variant again and again; notes how often that succeeded, and when a job was running."""
        side.notes.update(jobs_succeeded=0, jobs_failed=0, running_spans=[])
        while not side.stop.is_set():
            job = self._ask(f"/admin/jobs/{self._compress()}")
            while job["state"] in _UNDER_WAY and not side.stop.wait(0.2):
                job = self._ask(f"/admin/jobs/{job['id']}")
                if job["state"] == "running":
                    side.begun.set()
            if job["started_unix_seconds"] is not None:
                ended = job["finished_unix_seconds"] or time.time()
                side.notes["running_spans"].append((job["started_unix_seconds"], ended))
            side.notes["jobs_succeeded"] += job["state"] == "succeeded"
            if job["state"] == "failed":
                side.notes["jobs_failed"] += 1
                side.notes["error"] = job["error"]
        # The last one is not waited for, and nothing that follows may run beside it.
        if job["state"] in _UNDER_WAY:
            self._cancel(job["id"])
            self.wait_for_jobs()

    def _cancel(self, job: str) -> None:
        try:
            self._ask(f"/admin/jobs/{job}", method="DELETE")
        except HTTPError as error:
            with error:
                if error.code != HTTPStatus.CONFLICT:  # else it has ended since it was last looked at
                    raise

    def _swap(self, side: Side) -> None:
        """Let the variant's other version become active, over and over: each is loaded, warmed and swapped in."""
        published = self.equal_versions()
        side.notes.update(swaps=0, versions=len(published))
        side.begun.set()
        while not side.stop.wait(_SWAP_SECONDS):
            self.activate(published[side.notes["swaps"] % len(published)])
            side.notes["swaps"] += 1

    def _ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  (a loopback address)
            return json.load(response)
