"""The application of the naive FastAPI peer, and its empty route."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from loadtest.peers.ranker import Ranker


class Request(BaseModel):
    """What the peers take."""

    user_id: str
    candidates: list[str]
    k: int


class Item(BaseModel):
    """One ranked candidate."""

    item_id: str
    score: float


class Answer(BaseModel):
    """What the peers give."""

    items: list[Item]


def make_app(ranker: Ranker) -> FastAPI:
    """The application around one graph."""
    app = FastAPI()

    @app.post("/rank")
    def rank(request: Request) -> Answer:
        return Answer.model_validate(ranker.rank(request.model_dump()))

    @app.post("/empty")
    async def empty() -> dict[str, Any]:
        return {"items": []}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(Ranker(sys.argv[1])), port=int(sys.argv[2]), log_level="warning", access_log=False)
