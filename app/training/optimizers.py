"""How weights follow their gradients: AdamW for all of them, or for all but the tables.

A batch looks up a few thousand rows of a table that may have millions, and a dense optimizer goes through all of them
at each step. Row-wise Adagrad goes through those that were looked up, and keeps one number for each row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class OptimizerConfig(BaseModel):
    """The part of [training] that says how weights follow their gradients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-3, gt=0, description="Step size of AdamW.")
    weight_decay: float = Field(
        default=0.0, ge=0, description="Decoupled decay of everything but the tables."
    )
    schedule: Literal["constant", "linear"] = Field(
        default="constant", description="linear: step sizes fall to 0 over all epochs."
    )
    tables: Literal["adamw", "rowwise_adagrad"] = Field(
        default="adamw",
        description="Optimizer of the tables; rowwise_adagrad takes time by the rows looked up, not by the table.",
    )
    table_learning_rate: float = Field(default=0.3, gt=0, description="Step size of rowwise_adagrad.")
    table_damping: float = Field(
        default=0.01,
        gt=0,
        description="What its sums of squares start with: a row takes small steps until its gradients outweigh it.",
    )


class Optimizers:
    """All weights of a module and of its objective, moved step by step."""

    def __init__(self, module: nn.Module, objective: nn.Module, config: OptimizerConfig, steps: int) -> None:
        self._config = config
        self._steps = steps
        self._done = 0
        embeddings = {id(one.weight): one for one in module.modules() if isinstance(one, nn.Embedding)}
        every = [*module.parameters(), *objective.parameters()]
        tables = [one for one in every if id(one) in embeddings]
        by_row = config.tables == "rowwise_adagrad"
        # Decay on the tables would shrink the rows that a batch does not look up, so they have none.
        groups: list[dict[str, object]] = [
            {"params": [] if by_row else tables, "weight_decay": 0.0},
            {
                "params": [one for one in every if id(one) not in embeddings],
                "weight_decay": config.weight_decay,
            },
        ]
        used = [one for one in groups if one["params"]]
        # A module of nothing but tables leaves AdamW none.
        self._dense = torch.optim.AdamW(used, lr=config.learning_rate) if used else None
        self._rows = RowWiseAdagrad(tables if by_row else [], config.table_damping)
        self._sparse = [one for one in embeddings.values() if by_row and not one.sparse]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While it lasts, tables have gradients in the form that their optimizer takes."""
        for one in self._sparse:
            one.sparse = True
        try:
            yield
        finally:
            for one in self._sparse:
                one.sparse = False

    def step(self, loss: Tensor, rows: int) -> None:
        """One step down `loss`, a mean over so many rows."""
        for one in (self._dense, self._rows):
            if one is not None:
                one.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        share = 1.0 - self._done / self._steps if self._config.schedule == "linear" else 1.0
        if self._dense is not None:
            for group in self._dense.param_groups:
                group["lr"] = self._config.learning_rate * share
            self._dense.step()
        self._rows.step(self._config.table_learning_rate * share, rows)
        self._done += 1


class RowWiseAdagrad:
    """Adagrad with one sum for each row: the mean over its numbers of squared gradients (Naumov et al., DLRM, 2019).

    Gradients count as those of a sum over the rows of a batch, so that step sizes and `damping` mean the same for any
    batch size. Without `damping` the first step of a row would be as large as any, though a single label says little.
    """

    def __init__(self, tables: list[nn.Parameter], damping: float) -> None:
        self._tables = tables
        self._sums = [torch.full((len(one),), damping) for one in tables]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for table in self._tables:
            table.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, rows: int) -> None:
        """Move the rows that have a gradient, which is that of a mean over so many rows of a batch."""
        for table, sums in zip(self._tables, self._sums, strict=True):
            if table.grad is None:
                continue
            # A table that something else than a look-up reads as well has a dense gradient.
            gradient = table.grad if table.grad.is_sparse else table.grad.to_sparse(1)
            found = gradient.coalesce()
            index, values = found.indices()[0], found.values() * rows
            sums.index_add_(0, index, values.square().mean(dim=1))
            table.index_add_(0, index, values / sums[index].sqrt().unsqueeze(1), alpha=-learning_rate)
