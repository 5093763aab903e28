"""Our own service through every scenario, with what an operator would do beside it."""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.asks import Ask
from loadtest.compare import material_of
from loadtest.measure import Load, Material, as_json, run
from loadtest.peers.ours import SERVER
from loadtest.peers.ranker import Ranker
from loadtest.prepare import MODEL
from loadtest.scenarios import COUNTS, Scenario
from loadtest.servers import ROOT, Running, Server, started

KEY = "a-key-for-the-load-test"
CALIBRATION_SECONDS = 4.0
_SWAP_SECONDS = 0.2
_RECOVERY_SECONDS = 2.0
_JOBS_SECONDS = 900.0
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Cores:
    """Which core does what; the compressor shares the server's, as it would on a small machine."""

    server: int = 1
    client: int = 0


def run_scenarios(folder: Path, scenarios: tuple[Scenario, ...], cores: Cores) -> dict[str, Any]:
    """Every scenario against a service with a store of its own, one after another.

    Requests name the variant, so that every answer can be held against that graph.
    """
    store = _own_store(folder)
    material = material_of(Ranker(str(folder)), COUNTS, 0)
    server = _service(folder.name, store)
    found: dict[str, Any] = {}
    with started(server, folder, material.asks[0], cores.server, folder / "server.log") as running:
        _wait_for_jobs(running.port)
        capacities: dict[Any, float] = {}
        for scenario in scenarios:
            if scenario.mix not in capacities:
                capacities[scenario.mix] = _capacity(running, scenario, material)
            capacity = capacities[scenario.mix]
            _CONSOLE.print(f"{scenario.name}: {scenario.what} (capacity {capacity:.0f}/s)")
            before = running.memory()
            with _beside(scenario, running.port, store / MODEL / folder.name) as notes:
                samples = run(running, scenario.load(capacity), material, seed=1)
            found[scenario.name] = {
                "what": scenario.what,
                "capacity_per_second": capacity,
                **as_json(samples),
                "memory_before": before,
                "memory_after": running.memory(),
                "beside": notes,
                "probe_ms_after": _probe(running, material.asks[0]),
            }
        start_seconds = running.start_seconds
    return {"variant": folder.name, "start_seconds": start_seconds, "scenarios": found}


def _service(variant: str, store: Path) -> Server:
    """One worker with an admin key and a compressor."""

    def command(_: Path, port: int) -> list[str]:
        flags = ("--port", port, "--store", store, "--workers", 1)
        return [str(ROOT / ".venv" / "bin" / "slimrank"), "serve", *map(str, flags)]

    return replace(
        SERVER, name=f"slimrank, {variant}", command=command, environment={"SLIMRANK_ADMIN_KEY": KEY}
    )


def _own_store(folder: Path) -> Path:
    """A copy of the store, so that recompression leaves the original alone."""
    source = Path(json.loads((folder / "origin.json").read_text())["store"])
    target = folder.parent / "store"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("jobs.sqlite*", ".staging"))
    return target


def _wait_for_jobs(port: int) -> None:
    """A store that is not up to date is made so first: only what a scenario asks for may run beside it."""
    deadline = time.monotonic() + _JOBS_SECONDS
    while any(job["state"] in {"queued", "running"} for job in _get(port, "/admin/jobs")["jobs"]):
        if time.monotonic() > deadline:
            raise SystemExit("compression did not end: run `.venv/bin/slimrank compress movielens` first")
        time.sleep(1)


def _capacity(running: Running, scenario: Scenario, material: Material) -> float:
    """Right answers per second of a closed loop with the scenario's mix."""
    load = Load("calibration", connections=8, seconds=CALIBRATION_SECONDS, mix=scenario.mix)
    return run(running, load, material, seed=0).summary().throughput


def _probe(running: Running, ask: Ask) -> float:
    """Milliseconds of one request, a moment after the load: has the service recovered?"""
    time.sleep(_RECOVERY_SECONDS)
    body = json.dumps(running.server.body(ask, running.variant)).encode()
    started_at = time.perf_counter()
    _post(running.port, running.server.path, body)
    return round((time.perf_counter() - started_at) * 1e3, 2)


@contextmanager
def _beside(scenario: Scenario, port: int, versions: Path) -> Iterator[dict[str, Any]]:
    """Do what the scenario says until its load ends; what happened is noted. `versions`: the variant in the store."""
    notes: dict[str, Any] = {}
    stop = threading.Event()
    work = {"recompression": _recompress, "swaps": _swap}.get(scenario.beside)
    thread = threading.Thread(target=work, args=(port, versions, stop, notes), daemon=True) if work else None
    if thread:
        thread.start()
    try:
        yield notes
    finally:
        stop.set()
        if thread:
            thread.join(30)


def _recompress(port: int, versions: Path, stop: threading.Event, notes: dict[str, Any]) -> None:
    """Make the variant again and again while the load lasts; how often that succeeded is noted."""
    body = json.dumps({"recipes": [versions.name], "force": True}).encode()
    notes["jobs_succeeded"] = 0
    while not stop.is_set():
        job = _post(port, f"/admin/models/{MODEL}/compress", body)["id"]
        state = "queued"
        while not stop.wait(0.5) and state in {"queued", "running"}:
            state = _get(port, f"/admin/jobs/{job}")["state"]
        notes["jobs_succeeded"] += state == "succeeded"
        notes["last_state"] = state


def _swap(port: int, versions: Path, stop: threading.Event, notes: dict[str, Any]) -> None:
    """Let the variant's other version become active, over and over: each is loaded, warmed and swapped in."""
    notes["swaps"] = 0
    published = sorted(path.name for path in versions.iterdir())
    notes["versions"] = len(published)
    while not stop.wait(_SWAP_SECONDS):
        wanted = {"variant": versions.name, "version": published[notes["swaps"] % len(published)]}
        _post(port, f"/admin/models/{MODEL}/activate", json.dumps(wanted).encode())
        notes["swaps"] += 1


def _post(port: int, path: str, body: bytes) -> Any:
    return _ask(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body))


def _get(port: int, path: str) -> Any:
    return _ask(urllib.request.Request(f"http://127.0.0.1:{port}{path}"))


def _ask(request: urllib.request.Request) -> Any:
    request.add_header("Authorization", f"Bearer {KEY}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  (a loopback address)
        return json.load(response)
