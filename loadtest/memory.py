"""What several workers cost in memory when the model is large: one table of a gigabyte, touched all over."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.bars import failures_of, memory_bar, ratio
from loadtest.machine import mapped_of_tree, memory_of_processes, memory_of_tree
from loadtest.measure import Load, Material, as_json, run
from loadtest.memory_model import LargeModel, body_of
from loadtest.prepare import WORK, Prepared
from loadtest.servers import started
from loadtest.service import service

WEIGHTS_FILE = "model.onnx.data"
"""Of the store: the table, and little else."""
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class MemoryPlan:
    """How large a table, how many workers, and how it is touched."""

    table_bytes: int = 10**9
    workers: tuple[int, ...] = (1, 2, 4)
    asks: int = 256
    candidates: int = 1000
    """Of each request: so many random rows."""
    seconds_for_each_worker: float = 8.0
    connections_for_each_worker: int = 8
    """A connection stays with the worker that took it: with several for each, all workers get some."""
    k: int = 10
    cores: frozenset[int] = frozenset({0, 1})


def measure_memory(plan: MemoryPlan, work: Path = WORK) -> dict[str, Any]:
    """Make and publish the model in a temporary folder, then serve it with each number of workers."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as name:
        model = LargeModel(Path(name), plan.table_bytes)
        _CONSOLE.print(f"publishing a table of {model.table_bytes / 1e9:.2f} GB")
        model.publish()
        material = model.material(plan.asks, plan.candidates, plan.k, 0)
        prepared = Prepared(Path(name), "baseline", model.place)
        found = {str(workers): _served(prepared, workers, plan, material) for workers in plan.workers}
    return {
        "model": f"a table of {model.table_bytes / 1e9:.2f} GB",
        "table_bytes": model.table_bytes,
        "plan": asdict(replace(plan, cores=frozenset())) | {"cores": sorted(plan.cores)},
        "by_workers": found,
        "bars": _judged(found, plan.workers),
    }


def _served(prepared: Prepared, workers: int, plan: MemoryPlan, material: Material) -> dict[str, Any]:
    server = replace(service(prepared.place, workers=workers), body=body_of)
    load = Load(
        "random rows",
        connections=workers * plan.connections_for_each_worker,
        seconds=workers * plan.seconds_for_each_worker,
        mix=((plan.candidates, 1.0),),
    )
    with started(server, prepared, material.asks[0], plan.cores) as running:
        at_rest = running.memory()
        samples = run(running, load, material, seed=0)
        found = {
            **as_json(samples),
            "memory_at_rest": at_rest,
            "memory": memory_of_tree(running.process.pid),
            "processes": memory_of_processes(running.process.pid),
            "table_touched_bytes": mapped_of_tree(running.process.pid, WEIGHTS_FILE),
        }
    proportional = found["memory"]["proportional_bytes"] / 1e6
    _CONSOLE.print(f"{workers} workers: {proportional:,.0f} MB, {failures_of(found['outcomes'])} failures")
    return found


def _judged(found: dict[str, dict[str, Any]], workers: Sequence[int]) -> list[dict[str, Any]]:
    """Against one worker's memory; a run with failed requests, or one that was not made, is no measurement."""

    def memory(count: int) -> float | None:
        one = found.get(str(count))
        good = one is not None and not failures_of(one["outcomes"])
        return one["memory"]["proportional_bytes"] if one is not None and good else None

    return [memory_bar(count).judged(ratio(memory(count), memory(1))) for count in workers if count > 1]
