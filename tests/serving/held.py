"""Sessions without a graph, whose scores can be told beforehand."""

from collections.abc import Mapping

from app.encoding import Array
from app.serving.session import Session


class Adding(Session):
    """Scores each row with its own `value` plus the `base` of its request, and notes the values of each run."""

    def __init__(self) -> None:  # there is no graph to load
        self.runs: list[list[float]] = []

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        self.runs.append(inputs["value"].tolist())
        scores: Array = inputs["value"] + inputs["base"][row_request]
        return scores
