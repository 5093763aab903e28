"""The rows that steps calibrate and measure on, as graph inputs.

A row is something that happened, and each is as likely to be drawn as any other. So users and items come as often as
they come in the traffic: a range or a mean over these rows weighs values as requests will.
"""

from collections.abc import Iterator

import numpy as np

from app.compression.workshop import Workshop
from app.encoding import Array
from app.schema import ROW_REQUEST
from app.training.rows import Rows

ROWS_PER_RUN = 256


def drawn_rows(rows: Rows, count: int, seed: int) -> Array:
    """`count` different rows, all of them where there are fewer; int64, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])


def graph_inputs(rows: Rows, drawn: Array) -> Iterator[dict[str, Array]]:
    """Inputs of a graph, `ROWS_PER_RUN` rows at a time or a few fewer; each row is a request of its own."""
    for some in np.array_split(drawn, -(-len(drawn) // ROWS_PER_RUN)):
        yield {**rows.inputs(some), ROW_REQUEST: np.arange(len(some), dtype=np.int64)}


def calibration_inputs(workshop: Workshop, count: int, what_for: str) -> list[dict[str, Array]]:
    """Graph inputs of training rows drawn by the workshop's seed. Raises CompressionFailed when there are none."""
    rows = workshop.rows(what_for)
    return list(graph_inputs(rows, drawn_rows(rows, count, workshop.seed)))
