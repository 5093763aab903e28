"""The Ray Serve peer; runs in its own environment."""

import signal
import sys
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from loadtest.peers.ranker import Ranker


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Rank:
    """One graph."""

    def __init__(self, folder: str) -> None:
        self.ranker = Ranker(folder)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Rank."""
        return self.ranker.rank(await request.json())


if __name__ == "__main__":
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    http = {"host": "127.0.0.1", "port": int(sys.argv[2])}
    serve.start(http_options=http, logging_config=quiet)
    serve.run(Rank.bind(sys.argv[1]), route_prefix="/rank")
    ended.wait()
    serve.shutdown()
    ray.shutdown()
