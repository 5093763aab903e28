"""The cross network of DCN-v2: layers that each multiply what they read by the input once more."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.training.layers import SplitLinear, spread
from app.training.narrowing import Stays, keep_inputs, keep_outputs


class CrossNetwork(nn.Module):
    """The cross network of DCN-v2: x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (Wang et al., 2021, equation 1).

    With `rank`, each W is the product of two thin matrices (section 3.3). The first full-rank layer reads x_0, so its
    request half is computed once per request.
    """

    def __init__(self, request_width: int, item_width: int, layers: int, rank: int | None = None) -> None:
        super().__init__()
        width = request_width + item_width
        self.first = SplitLinear(request_width, item_width, width) if rank is None else _low_rank(width, rank)
        self.rest = nn.ModuleList(
            nn.Linear(width, width) if rank is None else _low_rank(width, rank) for _ in range(layers - 1)
        )

    def forward(self, request: Tensor, item: Tensor, row_request: Tensor) -> Tensor:
        """[num_requests, request_width], [num_candidates, item_width] -> [num_candidates, both widths]."""
        x0 = torch.cat([spread(request, row_request), item], dim=1) if request.shape[1] else item
        split = isinstance(self.first, SplitLinear)
        x: Tensor = x0 * (self.first(request, item, row_request) if split else self.first(x0)) + x0
        for layer in self.rest:
            x = x0 * layer(x) + x
        return x

    def narrow(self, stays: Stays) -> None:
        """Leave only these columns of x, in place."""
        for layer in self.layers:
            if isinstance(layer, SplitLinear):
                layer.narrow(stays.request, stays.item)
                for half in (layer.item, layer.request):
                    if half is not None:
                        keep_outputs(half, stays.joined)
            else:
                first, last = (layer[0], layer[1]) if isinstance(layer, nn.Sequential) else (layer, layer)
                assert isinstance(first, nn.Linear)
                assert isinstance(last, nn.Linear)
                keep_inputs(first, stays.joined)
                keep_outputs(last, stays.joined)

    @property
    def layers(self) -> list[nn.Module]:
        """Every layer, the first one first."""
        return [self.first, *self.rest]

    def keep(self, kept: Sequence[int]) -> None:
        """Leave only the layers of these places (ascending, at least one); the first of them reads x_0 itself."""
        first, *rest = (self.layers[place] for place in kept)
        if isinstance(self.first, SplitLinear) and isinstance(first, nn.Linear):
            self.first.take(first)
        else:
            assert isinstance(first, SplitLinear | nn.Sequential)
            self.first = first
        self.rest = nn.ModuleList(rest)


def _low_rank(width: int, rank: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
