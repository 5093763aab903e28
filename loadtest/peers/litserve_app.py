"""The LitServe peer; runs in its own environment."""

import sys
from typing import Any

import litserve

from loadtest.peers.ranker import Ranker


class RankAPI(litserve.LitAPI):
    """Decode, predict and encode are the framework's hooks."""

    def setup(self, device: str) -> None:  # noqa: ARG002  (the framework's signature)
        """Load the graph in the worker."""
        self.ranker = Ranker(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """The body as it is."""
        return request

    def predict(self, x: dict[str, Any]) -> dict[str, Any]:
        """Rank."""
        return self.ranker.rank(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The answer as it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(RankAPI(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
