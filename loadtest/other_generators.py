"""What other load generators reach against the null server, beside ours: why this project has one of its own.

Only closed loops can be compared: none of those that can be installed from package registries sends Poisson arrivals,
counts from the intended moment and lets bodies be judged.
"""

import json
import os
import re
import shutil
import subprocess
from typing import Any

from rich.console import Console

from loadtest.compare import Bench, material_of
from loadtest.environment import is_made, make_environment
from loadtest.measure import Load, Material, run
from loadtest.peers.ranker import Ranker
from loadtest.prepare import ROOT, WORK, Prepared
from loadtest.servers import Running, started
from loadtest.yardsticks import stand_in

_SECONDS = 5
_CANDIDATES = 100
_LOCUST = "locust==2.47.0"
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_WRK_SCRIPT = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies = {%s}
local sent = 0
request = function()
  sent = sent + 1
  return wrk.format(nil, nil, nil, bodies[sent %% #bodies + 1])
end
"""
_LOCUST_SCRIPT = """import itertools, json
from locust import FastHttpUser, constant, task

BODIES = itertools.cycle(json.loads(open({bodies!r}).read()))

class Asker(FastHttpUser):
    wait_time = constant(0)

    @task
    def rank(self):
        self.client.post("/rank", data=next(BODIES))
"""


def reach(prepared: Prepared, bench: Bench) -> dict[str, Any]:
    """Requests per second of each generator on one core, closed loop, 100 candidates."""
    material = material_of(Ranker(str(prepared.folder)), (_CANDIDATES,), bench.seed)
    server = stand_in(material, prepared)
    found: dict[str, Any] = {}
    with started(server, prepared, material.asks[0], bench.server_core) as running:
        load = Load("closed", connections=bench.connections, seconds=_SECONDS, mix=((_CANDIDATES, 1.0),))
        found["ours"] = run(running, load, material, seed=0).summary().throughput
        found["wrk"] = _wrk(running, material, bench)
        found["locust"] = _locust(running, material, bench)
    for name, rate in found.items():
        _CONSOLE.print(f"{name}: {'not installed' if rate is None else f'{rate:,.0f}/s'}")
    return {"per_second": found, "candidates": _CANDIDATES}


def _wrk(running: Running, material: Material, bench: Bench) -> float | None:
    """One thread; `apt-get install wrk`."""
    if shutil.which("wrk") is None:
        return None
    script = WORK / "wrk.lua"
    script.write_text(_WRK_SCRIPT % ", ".join(f"[[{body}]]" for body in _bodies(running, material)))
    flags = ("-t1", f"-c{bench.connections}", f"-d{_SECONDS}s", "-s", str(script))
    out = _run(["wrk", *flags, f"http://127.0.0.1:{running.port}{running.path}"], bench)
    return float(_found(r"Requests/sec:\s+([\d.]+)", out))


def _locust(running: Running, material: Material, bench: Bench) -> float | None:
    """Its fast client, one process, one user for each connection; in an environment of its own."""
    home = ROOT / ".cache" / "peers" / "locust"
    if not is_made(home, (_LOCUST,)) and not make_environment("locust", home, (_LOCUST,)):
        return None
    bodies, script = WORK / "locust-bodies.json", WORK / "locust_asks.py"
    bodies.write_text(json.dumps(_bodies(running, material)))
    script.write_text(_LOCUST_SCRIPT.format(bodies=str(bodies)))
    users = str(bench.connections)
    flags = ("--headless", "--users", users, "--spawn-rate", users, "--run-time", f"{_SECONDS}s", "--json")
    host = ("--host", f"http://127.0.0.1:{running.port}")
    out = _run([str(home / "bin" / "locust"), "-f", str(script), *flags, *host], bench)
    (one,) = json.loads(out[out.index("[") :])
    return float(one["num_requests"] / (one["last_request_timestamp"] - one["start_time"]))


def _bodies(running: Running, material: Material) -> list[str]:
    return [json.dumps(running.body(ask), separators=(",", ":")) for ask in material.asks]


def _run(command: list[str], bench: Bench) -> str:
    os.sched_setaffinity(0, {bench.client_core})
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS + 60)
    return ran.stdout


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"unexpected output: {text[-300:]}")
    return match.group(1)
