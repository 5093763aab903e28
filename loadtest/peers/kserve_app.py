"""The KServe peer; runs in its own environment."""

import logging
import os
from typing import Any

from kserve import Model, ModelServer

from loadtest.peers.ranker import Ranker


class Rank(Model):
    """One graph."""

    def __init__(self) -> None:
        super().__init__("rank")
        self.ranker = Ranker(os.environ["RANKER_FOLDER"])
        self.ready = True

    async def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Rank every instance."""
        return {"predictions": [self.ranker.rank(one) for one in payload["instances"]]}


if __name__ == "__main__":
    server = ModelServer(workers=1)
    # No line for each request, as with every other side.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    server.start([Rank()])
