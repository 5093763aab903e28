"""What several workers cost in memory when the model is large: one table of a gigabyte, touched all over."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.bars import failures_of, memory_bar, ratio
from loadtest.machine import mapped_of_tree, memory_of_processes, memory_of_tree
from loadtest.measure import Load, Material, run
from loadtest.memory_model import LargeModel, body_of
from loadtest.prepare import WORK, Prepared, run_slimrank
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
    connections_for_each_worker: int = 2
    turn_seconds: float = 3.0
    most_turns: int = 20
    """A connection stays with the worker that took it, and some workers take none for a while: turns with connections
    of their own follow one another until every worker has touched the table."""
    touched_share: float = 0.95
    k: int = 10
    cores: frozenset[int] = frozenset({0, 1})


def measure_memory(plan: MemoryPlan, work: Path = WORK) -> dict[str, Any]:
    """Make and publish the model in a temporary folder, then serve it with each number of workers."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as name:
        model = LargeModel(Path(name), plan.table_bytes)
        _CONSOLE.print(f"publishing a table of {model.table_bytes / 1e9:.2f} GB")
        model.write()
        run_slimrank(*model.compress_command)
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
        seconds=plan.turn_seconds,
        mix=((plan.candidates, 1.0),),
    )
    outcomes: Counter[str] = Counter()
    with started(server, prepared, material.asks[0], plan.cores) as running:
        pid, at_rest = running.process.pid, running.memory()
        for turn in range(plan.most_turns):
            outcomes.update(run(running, load, material, seed=turn).summary().outcomes)
            touched = mapped_of_tree(pid, WEIGHTS_FILE)
            if sum(one >= plan.touched_share * plan.table_bytes for one in touched) >= workers:
                break
        found = {
            "outcomes": dict(outcomes),
            "memory_at_rest": at_rest,
            "memory": memory_of_tree(pid),
            "processes": memory_of_processes(pid),
            "table_touched_bytes": touched,
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
