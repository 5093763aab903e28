"""Tables that are read through product codes while a module is trained, so that their codebooks can be tuned."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from app.compression.product_quantization import Clustering, ProductCode, product_quantize
from app.encoding import Array
from app.training.rows import Rows

_CHUNK_ROWS = 65_536
_COUNT_ROWS = 8192


def look_ups(module: nn.Module, tables: Sequence[nn.Embedding], rows: Rows) -> list[Array]:
    """How often each row of each table is looked up for these rows, float64 [rows of the table] each.

    Index 0 of a list is padding and does not count.
    """
    totals = [np.zeros(one.num_embeddings) for one in tables]
    places = {id(one): place for place, one in enumerate(tables)}

    def count(table: nn.Module, given: tuple[Tensor, ...]) -> None:
        indices = given[0].numpy()
        total = totals[places[id(table)]]
        found = np.bincount(indices.ravel(), minlength=len(total)).astype(np.float64)
        found[0] = 0 if indices.ndim > 1 else found[0]
        total += found

    with ExitStack() as hooks, torch.inference_mode():
        for table in tables:
            hooks.callback(table.register_forward_pre_hook(count).remove)
        module.eval()
        for start in range(0, len(rows), _COUNT_ROWS):
            some = np.arange(start, min(start + _COUNT_ROWS, len(rows)))
            module(as_tensors(rows.inputs(some)), torch.arange(len(some)))
    return totals


def as_tensors(inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """The same arrays, shared."""
    return {name: torch.from_numpy(values) for name, values in inputs.items()}


def code_table(table: nn.Embedding, counts: Array, clustering: Clustering) -> ProductCode:
    """The table quantized as product_quantize_tables would, its rows weighing `counts`."""
    weight = table.weight.detach().numpy()

    def chunks() -> Iterator[tuple[int, Array]]:
        for start in range(0, len(weight), _CHUNK_ROWS):
            yield start, weight[start : start + _CHUNK_ROWS]

    return product_quantize(chunks, counts, clustering)


class CodedTable(nn.Module):
    """Rows of a table as centroids side by side; the centroids are weights, and the codes are not."""

    def __init__(self, code: ProductCode) -> None:
        super().__init__()
        self.places, clusters, self.length = code.centroids.shape
        self.codebook = nn.Parameter(torch.from_numpy(code.centroids.reshape(-1, self.length).copy()))
        # As bytes, as the graph will have them: int64 would take more than the table of float32.
        self._codes = torch.from_numpy(code.codes)
        self._offsets = torch.arange(self.places) * clusters

    def forward(self, indices: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., width]."""
        centroids = self._codes[indices].to(torch.int64) + self._offsets
        return nn.functional.embedding(centroids, self.codebook).flatten(-2)


@contextmanager
def read_through(tables: Sequence[nn.Embedding], codes: Sequence[ProductCode]) -> Iterator[nn.ModuleList]:
    """Tables that give what their codes say; afterwards that is what they hold. Gives what reads the codes."""
    coded = nn.ModuleList([CodedTable(one) for one in codes])
    reading = {id(table): one for table, one in zip(tables, coded, strict=True)}

    def look_up(table: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> Tensor:
        rows: Tensor = reading[id(table)](given[0])
        return rows

    with ExitStack() as hooks:
        for table in tables:
            hooks.callback(table.register_forward_hook(look_up).remove)
        yield coded
    with torch.no_grad():
        for table in tables:
            for start in range(0, table.num_embeddings, _CHUNK_ROWS):
                some = torch.arange(start, min(start + _CHUNK_ROWS, table.num_embeddings))
                table.weight[some] = reading[id(table)](some)
