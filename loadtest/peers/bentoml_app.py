"""The BentoML peer; runs in its own environment."""

import os
from typing import Any

import bentoml

from loadtest.peers.ranker import Ranker


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Rank:
    """One graph."""

    def __init__(self) -> None:
        self.ranker = Ranker(os.environ["RANKER_FOLDER"])

    @bentoml.api
    def rank(self, user_id: str, candidates: list[str], k: int) -> dict[str, Any]:
        """Rank."""
        return self.ranker.rank({"user_id": user_id, "candidates": candidates, "k": k})
