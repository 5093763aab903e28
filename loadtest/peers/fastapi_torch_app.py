"""The application of the torch peer: DCN-v2 written down plainly over the checkpoint's weights."""

import sys

import numpy as np
import torch
import uvicorn
from safetensors.torch import load_file
from torch.nn.functional import linear

from loadtest.peers.fastapi_app import make_app
from loadtest.peers.ranker import Ranker

REQUEST = ("user_id", "age", "gender", "occupation")


class TorchRanker(Ranker):
    """The same ranker with the network in torch."""

    def __init__(self, folder: str, checkpoint: str) -> None:
        super().__init__(folder)
        torch.set_num_threads(1)
        self.weights = load_file(checkpoint)
        for name in ("cross.first", "deep.layers.0"):
            # The checkpoint keeps the halves of these layers apart; a plain network has them as one.
            halves = [self.weights[f"{name}.{side}.weight"] for side in ("request", "item")]
            self.weights[f"{name}.weight"] = torch.cat(halves, dim=1)
            self.weights[f"{name}.bias"] = self.weights[f"{name}.item.bias"]

    def score(self, user_id: str, candidates: list[str]) -> np.ndarray:
        """Scores of the candidates, float32 [candidates]."""
        user = self.user_rows[user_id]
        rows = np.array([self.item_rows[one] for one in candidates], dtype=np.int64)
        with torch.inference_mode():
            request = torch.cat([self._table(n, self.users[n][user : user + 1]) for n in REQUEST], dim=1)
            parts = [self._table(name, self.items[name][rows]) for name in ("item_id", "release_year")]
            item = torch.cat([*parts, self._mean("genres", self.items["genres"][rows])], dim=1)
            x0 = torch.cat([request.expand(len(rows), -1), item], dim=1)
            logits = self._head(self._cross(x0)) + self._deep(x0)
            scores: np.ndarray = torch.sigmoid(logits).squeeze(1).numpy()
        return scores

    def _table(self, name: str, indices: np.ndarray) -> torch.Tensor:
        return self.weights[f"embedding.tables.{name}.weight"][torch.from_numpy(indices)]

    def _mean(self, name: str, indices: np.ndarray) -> torch.Tensor:
        used = (torch.from_numpy(indices) > 0).float().unsqueeze(2)
        return (self._table(name, indices) * used).sum(1) / used.sum(1).clamp(min=1.0)

    def _dense(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _cross(self, x0: torch.Tensor) -> torch.Tensor:
        x = x0 * self._dense(x0, "cross.first") + x0
        return x0 * self._dense(x, "cross.rest.0") + x

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weights["head.weight"])

    def _deep(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self._dense(x, "deep.layers.0"))
        for layer in (1, 2):
            x = torch.relu(self._dense(x, f"deep.layers.{layer}"))
        return self._dense(x, "deep.layers.3")


if __name__ == "__main__":
    app = make_app(TorchRanker(sys.argv[1], sys.argv[2]))
    uvicorn.run(app, port=int(sys.argv[3]), log_level="warning", access_log=False)
