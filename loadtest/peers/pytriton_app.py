"""The PyTriton peer; runs in its own environment."""

import sys

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from loadtest.peers.ranker import Ranker


def serve(folder: str, http_port: int, grpc_port: int, metrics_port: int) -> None:
    """Serve until the process is ended."""
    ranker = Ranker(folder)

    def infer(requests: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        answers = []
        for request in requests:
            user_id = request["user_id"][0].decode()
            candidates = [one.decode() for one in request["candidates"]]
            found = ranker.rank({"user_id": user_id, "candidates": candidates, "k": int(request["k"][0])})
            ids = np.array([one["item_id"].encode() for one in found["items"]], dtype=np.object_)
            scores = np.array([one["score"] for one in found["items"]], dtype=np.float32)
            answers.append({"item_id": ids, "score": scores})
        return answers

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http_port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="rank",
            infer_func=infer,
            inputs=[
                Tensor(name="user_id", dtype=bytes, shape=(1,)),
                Tensor(name="candidates", dtype=bytes, shape=(-1,)),
                Tensor(name="k", dtype=np.int32, shape=(1,)),
            ],
            outputs=[
                Tensor(name="item_id", dtype=bytes, shape=(-1,)),
                Tensor(name="score", dtype=np.float32, shape=(-1,)),
            ],
            config=ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    serve(sys.argv[1], *(int(port) for port in sys.argv[2:5]))
