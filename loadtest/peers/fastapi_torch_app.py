"""The application of the torch peer: the module that the graph was exported from, with its own weights."""

import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from safetensors.torch import load_file

from loadtest.models.bench.bench_ranker import BenchRanker
from loadtest.peers.fastapi_app import make_app
from loadtest.peers.ranker import Ranker


class TorchRanker(Ranker):
    """The same ranker with the network in torch."""

    def __init__(self, folder: str, model: Path) -> None:
        super().__init__(folder)
        torch.set_num_threads(1)
        weights = load_file(model / "checkpoint.safetensors")
        (users, width), items = weights["user.weight"].shape, len(weights["item.weight"])
        linear = [name for name in weights if name.startswith("network.") and name.endswith(".weight")]
        hidden = [len(weights[name]) for name in sorted(linear)[:-1]]
        self.module = BenchRanker(users, items, width, hidden).eval()
        self.module.load_state_dict(weights)

    def score(self, user_id: str, candidates: list[str]) -> np.ndarray:
        """Scores of the candidates, float32 [candidates]."""
        user = self.user_rows[user_id]
        rows = np.array([self.item_rows[one] for one in candidates], dtype=np.int64)
        inputs = {
            "user_id": torch.from_numpy(self.users["user_id"][user : user + 1]),
            "item_id": torch.from_numpy(self.items["item_id"][rows]),
        }
        with torch.inference_mode():
            row_request = torch.zeros(len(rows), dtype=torch.int64)
            scores: np.ndarray = torch.sigmoid(self.module(inputs, row_request)).numpy()
        return scores


if __name__ == "__main__":
    app = make_app(TorchRanker(sys.argv[1], Path(sys.argv[2])))
    uvicorn.run(app, port=int(sys.argv[3]), log_level="warning", access_log=False)
