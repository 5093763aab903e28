"""The PyTriton peer; runs in its own environment."""

import sys
from typing import Any

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from loadtest.peers.ranker import Ranker


def serve(folder: str, http_port: int, grpc_port: int, metrics_port: int) -> None:
    """Serve until the process is ended."""
    ranker = Ranker(folder)

    def infer(requests: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        return [_answer(found) for found in ranker.rank_many([_request(one) for one in requests])]

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http_port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        allow_cpu_metrics=False,
        allow_gpu_metrics=False,
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
            config=ModelConfig(max_batch_size=8),
        )
        triton.serve()


def _request(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The only request of a batch of one row."""
    (user_id,), (candidates,), (k,) = tensors["user_id"], tensors["candidates"], tensors["k"]
    return {
        "user_id": user_id[0].decode(),
        "candidates": [one.decode() for one in candidates],
        "k": int(k[0]),
    }


def _answer(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors with one row."""
    ids = [one["item_id"].encode() for one in found["items"]]
    scores = [one["score"] for one in found["items"]]
    return {
        "item_id": np.array([ids], dtype=np.object_),
        "score": np.array([scores], dtype=np.float32),
    }


if __name__ == "__main__":
    serve(sys.argv[1], *(int(port) for port in sys.argv[2:5]))
